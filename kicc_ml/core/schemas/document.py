"""Describe the JSON schemas as one page of Markdown: ``docs/schemas.md``.

Write the page again with ``python -m kicc_ml.core.schemas.document`` in the folder of the repository.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kicc_ml.core.files import write_text
from kicc_ml.core.schemas.versions import VERSION, list_schemas, load_schema

PAGE = Path("docs/schemas.md")
INTRODUCTION = f"""# Files that other programs read

This page is made from the JSON schemas (draft 2020-12) in `kicc_ml/core/schemas`, which are part of the package:
`kicc_ml.core.schemas.versions.load_schema("summary")` gives one. Each JSON file has its version under
`{VERSION}`. A file without it was written before there were versions, and has the form of version 1. A file of a later
version than this release knows is refused. Keys may be added to a version; a key that goes, or changes its meaning,
makes a new version.

What cannot be computed is `null`, with a reason beside it. `NAME` in a key stands for any name; `[]` for each entry of
a list.
"""


def describe_schemas() -> str:
    """Describe all schemas as Markdown: each file with its keys, their types, units and meanings."""
    return "\n".join([INTRODUCTION, *(_describe_schema(name) for name in list_schemas())])


def _describe_schema(name: str) -> str:
    schema = load_schema(name)
    properties = schema["properties"]
    stated = [f"Version {properties[VERSION]['const']}."] if VERSION in properties else []
    parts = [f"## {schema['title']}\n", " ".join([schema["description"], *stated]) + "\n", _make_table(schema)]
    for part, one in schema.get("$defs", {}).items():
        parts += [f"### {schema['title']}: {part}\n", f"{one.get('description', '')}\n", _make_table(one)]
    return "\n".join(parts)


def _make_table(schema: Mapping[str, Any]) -> str:
    rows = [f"| `{key}` | {_name_type(one)} | {one.get('description', '')} |" for key, one in _iterate_keys(schema, "")]
    return "\n".join(["| key | type | meaning |", "|---|---|---|", *rows]) + "\n" if rows else ""


def _iterate_keys(schema: Mapping[str, Any], before: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Iterate over the keys below a schema, and what each holds."""
    for choice in schema.get("oneOf", ()):
        yield from _iterate_keys(choice, before)
    for name, one in schema.get("properties", {}).items():
        yield before + name, one
        yield from _iterate_keys(one, f"{before}{name}.")
    for pattern, one in schema.get("patternProperties", {}).items():
        yield pattern.strip("^$").replace(".+", "NAME").replace("|", ","), one
    for name, inner in (("NAME.", schema.get("additionalProperties")), ("[].", schema.get("items"))):
        if isinstance(inner, Mapping):
            place = f"{before.removesuffix('.')}{name}" if name == "[]." else before + name
            if "$ref" in inner:
                yield place.removesuffix("."), inner
            yield from _iterate_keys(inner, place)


def _name_type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return f"{schema['$ref'].rsplit('/', 1)[-1]}, below"
    if "const" in schema:
        return f"{schema['const']}"
    if "enum" in schema:
        return " or ".join("null" if one is None else f"`{one}`" if one else "empty" for one in schema["enum"])
    kinds = schema.get("type", "object")
    named = kinds if isinstance(kinds, str) else " or ".join(kinds)
    return f"{named}, {schema['unit']}" if "unit" in schema else named


if __name__ == "__main__":
    write_text(PAGE, describe_schemas())
