"""What a file that leaves the project holds beside its schema, in words."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from jsonschema import Draft202012Validator

from kicc_ml.core.schemas.versions import load_schema
from kicc_ml.runs.tables import read_numbers


def list_faults(name: str, content: Any) -> list[str]:
    """Where the content is not as its schema says; empty if it is valid."""
    found = Draft202012Validator(load_schema(name)).iter_errors(content)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in found]


def list_file_faults(path: Path, name: str = "") -> list[str]:
    """The same of a JSON file, by the schema of its own name if none is given."""
    return list_faults(name or path.stem, json.loads(path.read_text(encoding="utf-8")))


def list_table_faults(path: Path) -> list[str]:
    """The same of each row of ``cases.csv`` or ``predictions.csv``."""
    table = read_numbers(path, "")
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [fault for row in rows for fault in list_faults(f"{path.stem}_table", _drop_unknown_texts(row, table))]


def _drop_unknown_texts(row: dict[Any, Any], table: pd.DataFrame) -> dict[str, Any]:
    return {name: "" if row[name] is None and name in ("fold", "site") else row[name] for name in table}
