"""Read YAML and JSON that may come from others: limited size, plain values only, one clear error otherwise."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from kicc_ml.core.errors import UserError

#: Settings, a plan, a checklist: a few kB. The parser takes about ten seconds for this much.
MAX_YAML_BYTES = 2**18
#: A split or a summary of a consortium's every patient.
MAX_JSON_BYTES = 2**27
#: Lists within lists, in YAML; settings have five.
MAX_DEPTH = 40


class PlainLoader(yaml.SafeLoader):
    """Loads plain values like ``yaml.safe_load``, but refuses aliases, with which a few lines can become gigabytes."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Read one node; refuse aliases, deep nesting and too many nodes."""
        mark: Any = self.peek_event().start_mark
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="it holds an alias (*name)", problem_mark=mark)
        if self.depth >= MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="it is nested too deeply", problem_mark=mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """As PyYAML does, which raises any of three errors where a value is not what its tag says."""
        try:
            return super().construct_object(node, deep)
        except (AttributeError, IndexError, KeyError):
            raise yaml.MarkedYAMLError(
                problem=f"its value is none of the kind {node.tag.rpartition(':')[2]}", problem_mark=node.start_mark
            ) from None


def parse_yaml(text: str) -> Any:
    """Parse one YAML document to plain values.

    Raises:
        yaml.YAMLError, ValueError: the text is not YAML, or holds aliases.
    """
    return yaml.load(text, PlainLoader)


def parse_yaml_documents(text: str) -> list[Any]:
    """Parse all YAML documents of a text to plain values.

    Raises:
        yaml.YAMLError, ValueError: the text is not YAML, or holds aliases.
    """
    return list(yaml.load_all(text, PlainLoader))


def read_yaml(path: Path, remedy: str) -> Any:
    """Read the plain values of a YAML file.

    Args:
        path: the file.
        remedy: what the user should do if it cannot be read, for example ``"train the fold again"``.

    Raises:
        UserError: the file is missing, larger than ``MAX_YAML_BYTES``, not UTF-8 or not YAML, or holds aliases.
    """
    return _read(path, remedy, MAX_YAML_BYTES, parse_yaml)


def read_json(path: Path, remedy: str) -> Any:
    """Read the plain values of a JSON file.

    Args:
        path: the file.
        remedy: what the user should do if it cannot be read, for example ``"remove it"``.

    Raises:
        UserError: the file is missing, larger than ``MAX_JSON_BYTES``, not UTF-8 or not JSON, or holds NaN.
    """
    return _read(path, remedy, MAX_JSON_BYTES, lambda text: json.loads(text, parse_constant=_refuse_constant))


def read_json_object(path: Path, remedy: str) -> dict[str, Any]:
    """Read a JSON file that must hold an object; arguments and errors as of :func:`read_json`."""
    found = read_json(path, remedy)
    if not isinstance(found, dict):
        raise UserError(f"{path} cannot be read: it holds no names and values; {remedy}")
    return found


def check_regular(path: Path, remedy: str) -> None:
    """Raise UserError if a path is a pipe or a device, which may have no end."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UserError(f"{path} is no regular file, so it is not read; {remedy}")


def _read(path: Path, remedy: str, most: int, parse: Callable[[str], Any]) -> Any:
    check_regular(path, remedy)
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise UserError(f"{path} is larger than {most} bytes, so it is not read; {remedy}")
        return parse(content.decode("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; {remedy}") from None
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {_describe_in_one_line(error)}; {remedy}") from error


def _describe_in_one_line(error: Exception) -> str:
    """Describe in one line what is wrong and where, without quoting the text."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it holds {name}")
