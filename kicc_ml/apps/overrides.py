"""Settings as people type them: a path or a hospital's name is handed to Hydra as it is, whatever it holds.

Hydra reads the right side of ``key=value`` by a grammar of its own, in which a comma makes a sweep, a bracket a list,
and letters beyond ASCII, ``#`` or ``=`` an error.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

#: Settings that are paths, by the last part of their key.
PATHS = frozenset({"root", "runs", "predictions", "ckpt_path", "features_from", "run_dir", "store_dir", "report_dir"})
PATHS |= {"index_cache", "folder", "dir", "searchpath"}
WEIGHTS = "network.weights"
#: Settings that are names; they too may look like numbers, but a comma lists several.
NAMES = frozenset({"name", "fold", "site_pattern"})
SETTING = re.compile(r"(?P<key>\+{0,2}[\w./@-]+)=(?P<value>.*)", re.DOTALL)
QUOTES = ("'", '"')
NOTHING = ("", "null")


def quote_as_typed(arguments: Sequence[str]) -> list[str]:
    """Prepare the arguments of a command line for Hydra: values that it would take for something else are quoted.

    A path is taken letter by letter, ``${...}`` included; in quotes, in Hydra's own settings and in those that are no
    paths ``${...}`` refers to another setting. Lists in brackets stay lists and ``a,b`` a sweep, unless a file or
    folder of that very name is there. Options are left alone.
    """
    return [_quote_as_typed(argument) for argument in arguments]


def write_setting(key: str, value: str) -> str:
    """Write ``key=value`` for Hydra, where the value is this very text."""
    return f"{key}={quote(escape_references(value))}"


def escape_references(text: str) -> str:
    r"""Write a text so that OmegaConf finds no reference: it reads ``\${`` as ``${``."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def quote(text: str) -> str:
    """Write a text in Hydra's quotes, in which backslashes count only before a quote."""
    doubled = re.sub(r"(\\+)(?='|\Z)", r"\1\1", text)
    return "'" + doubled.replace("'", r"\'") + "'"


def _quote_as_typed(argument: str) -> str:
    if not (found := SETTING.fullmatch(argument)):
        return argument
    key, value = found["key"], found["value"]
    last = key.rsplit(".")[-1].lstrip("+")
    if value in NOTHING:
        return argument
    if last in PATHS or key.lstrip("+") == WEIGHTS:
        return _quote_path(key, value)
    if last in NAMES and not value.startswith(("[", *QUOTES)) and "${" not in value and "," not in value:
        return write_setting(key, value)
    return argument if value.startswith(("[", "{", *QUOTES)) or _parses(argument) else write_setting(key, value)


def _quote_path(key: str, value: str) -> str:
    if _is_there(value):
        return write_setting(key, value)
    if value.startswith(QUOTES) and _parses(f"{key}={value}"):
        return f"{key}={value}"
    if value.startswith("[") and value.endswith("]"):
        return f"{key}=[{','.join(_quote_element(key, one) for one in _split_elements(value[1:-1]))}]"
    if _refers(key, value) or ("," in value and all(_is_there(one) for one in _split_elements(value))):
        return f"{key}={value}"
    return write_setting(key, str(Path(value).expanduser()) if value.startswith("~") else value)


def _split_elements(text: str) -> list[str]:
    """Split a text at its commas, except at those within quotes."""
    return [one.strip() for one in re.findall(r"""\s*(?:'(?:\\.|[^'])*'|"(?:\\.|[^"])*"|[^,])+""", text)]


def _quote_element(key: str, text: str) -> str:
    return text if text.startswith(QUOTES) or _refers(key, text) else write_setting("", text)[1:]


def _refers(key: str, value: str) -> bool:
    """Whether a path is made of other settings, as people write ``hydra.sweep.dir=runs/${now:%Y-%m-%d}``."""
    return "${" in value and key.lstrip("+").startswith("hydra.")


def _is_there(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long for a path, or with a NUL
        return False


def _parses(argument: str) -> bool:
    try:
        OverridesParser.create().parse_override(argument)
    except HydraException:
        return False
    return True
