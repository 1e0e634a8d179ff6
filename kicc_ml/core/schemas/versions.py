"""The version of each JSON that leaves this project: written into the file, and checked when the file is read again.

The form of each file is a JSON schema beside this module. A file of an earlier release holds no version: it has the
form of version 1. A file of a later version is refused, because its values could mean something else.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from kicc_ml.core.errors import UserError
from kicc_ml.core.files import write_json
from kicc_ml.core.received import read_json_object

#: The key of the version, in every JSON with a schema.
VERSION = "schema_version"
#: The version of a file that holds none.
FIRST_VERSION = 1


@cache
def load_schema(name: str) -> Mapping[str, Any]:
    """Load a JSON schema (draft 2020-12) by the name of its file, such as ``summary``."""
    return json.loads((files("kicc_ml.core.schemas") / f"{name}.json").read_text(encoding="utf-8"))


def list_schemas() -> list[str]:
    """List the names of all schemas, sorted."""
    folder = files("kicc_ml.core.schemas")
    return sorted(file.name.removesuffix(".json") for file in folder.iterdir() if file.name.endswith(".json"))


def get_version(name: str) -> int:
    """Return the version of the form that this release writes."""
    return load_schema(name)["properties"][VERSION]["const"]


def add_version(name: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content with its version as the first key.

    Args:
        name: the schema of the content.
        content: what is written.
    """
    return {VERSION: get_version(name), **content}


def write_versioned(path: Path, name: str, content: Mapping[str, Any]) -> None:
    """Write a JSON file with its version, completely or not at all.

    Args:
        path: the file.
        name: the schema of the content.
        content: what is written.

    Raises:
        ValueError: the content holds NaN or infinity.
    """
    write_json(path, add_version(name, content))


def read_versioned(path: Path, name: str, remedy: str) -> dict[str, Any]:
    """Read a JSON file of this or an earlier version, and return its content without the version.

    Args:
        path: the file.
        name: the schema of the content.
        remedy: what the user should do if it cannot be read, for example ``"train the fold again"``.

    Raises:
        UserError: the file cannot be read, or is of a later version.
    """
    content = read_json_object(path, remedy)
    found, newest = content.pop(VERSION, FIRST_VERSION), get_version(name)
    if type(found) is not int or not FIRST_VERSION <= found <= newest:
        raise UserError(
            f"{path} cannot be read: it has {VERSION} {json.dumps(found)[:20]}, and this release of kicc_ml reads "
            f"{FIRST_VERSION} to {newest}; install the release that wrote it, or {remedy}"
        )
    return content
