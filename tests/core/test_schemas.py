"""Every schema is valid and closed, files say their version, and the page of schemas is that of the schemas."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from kicc_ml.core.errors import UserError
from kicc_ml.core.schemas.document import describe_schemas
from kicc_ml.core.schemas.versions import add_version, list_schemas, load_schema, read_versioned, write_versioned

PAGE = Path(__file__).parents[2] / "docs" / "schemas.md"
FLOW = {"rows": 3, "cases": 2, "counts": {}, "excluded": {"no image": 1}, "unit": "rows of the table"}


def iterate_objects(schema: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of an object within a schema, with its place."""
    if isinstance(schema, list):
        schema = dict(enumerate(schema))
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object":
        yield place, schema
    for key, one in schema.items():
        if key not in ("if", "then", "required", "enum"):
            yield from iterate_objects(one, f"{place}.{key}")


@pytest.mark.parametrize("name", list_schemas())
def test_a_schema_is_valid_and_no_key_can_be_added_beside_it(name: str):
    schema = load_schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    found = list(iterate_objects(schema, name))
    assert found
    for place, one in found:
        others = one.get("additionalProperties")
        assert others is False if "properties" in one else {"type", "$ref"} & set(others), place


@pytest.mark.parametrize("name", list_schemas())
def test_every_key_of_a_schema_has_a_meaning(name: str):
    schema = load_schema(name)
    for place, one in iterate_objects(schema, name):
        for key, value in one.get("properties", {}).items():
            referred = schema.get("$defs", {}).get(value.get("$ref", "").rsplit("/", 1)[-1], {})
            assert value.get("description") or referred.get("description"), f"{place}.{key}"


@pytest.mark.parametrize("name", [name for name in list_schemas() if not name.endswith("_table")])
def test_a_json_must_hold_its_version(name: str):
    schema = load_schema(name)
    assert "schema_version" in schema["required"]
    assert next(iter(add_version(name, {}))) == "schema_version"


def test_the_page_of_schemas_is_made_from_them():
    assert PAGE.read_text(encoding="utf-8") == describe_schemas(), "python -m kicc_ml.core.schemas.document"


def test_what_was_written_is_read_without_its_version(tmp_path: Path):
    write_versioned(tmp_path / "flow.json", "flow", FLOW)
    assert json.loads((tmp_path / "flow.json").read_text())["schema_version"] == 1
    assert read_versioned(tmp_path / "flow.json", "flow", "remove it") == FLOW


def test_a_file_of_an_earlier_release_has_no_version_and_is_read(tmp_path: Path):
    (tmp_path / "flow.json").write_text(json.dumps(FLOW))
    assert read_versioned(tmp_path / "flow.json", "flow", "remove it") == FLOW


@pytest.mark.parametrize("version", [2, 0, -1, 1.5, True, "1", None, [1]])
def test_a_file_of_another_version_is_refused_by_name_and_with_a_remedy(tmp_path: Path, version: object):
    (tmp_path / "flow.json").write_text(json.dumps({"schema_version": version, **FLOW}))
    with pytest.raises(UserError, match=r"flow\.json cannot be read: it has schema_version .* or remove it"):
        read_versioned(tmp_path / "flow.json", "flow", "remove it")


def test_a_number_that_json_does_not_know_is_not_written(tmp_path: Path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_versioned(tmp_path / "flow.json", "flow", FLOW | {"rows": math.nan})
    assert not list(tmp_path.iterdir())
