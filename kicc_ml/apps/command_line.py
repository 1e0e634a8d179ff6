"""Hydra's own options on the command line: which of them are served, and what is said of those that are not."""

import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString

from kicc_ml.apps.overrides import quote_as_typed, write_setting
from kicc_ml.core.errors import UserError

SEARCH_PATH = "hydra.searchpath"
#: Options that only show something, by the name of their attribute.
SHOWN_BY_FLAG = ("help", "hydra_help", "shell_completion", "resolve")
SHOWN_BY_VALUE = ("cfg", "info", "package")
#: Options that would start something else than the settings state, and what serves instead.
REFUSED = {
    "experimental_rerun": "start the same command again; finished folds are kept",
    "config_path": "put your own settings into DIR/experiment/NAME.yaml and say --config-dir DIR experiment=NAME",
    "config_name": "put your own settings into DIR/experiment/NAME.yaml and say --config-dir DIR experiment=NAME",
}


@dataclass(frozen=True)
class CommandLine:
    """What was typed.

    Attributes:
        overrides: the settings, as Hydra reads them; ``--config-dir`` is one of them (``hydra.searchpath``).
        multirun: whether ``-m`` was given.
        shown: the options of Hydra that show something instead of running; empty where something is to run.
        no_wait: whether ``--no-wait`` was given, which is not Hydra's.
    """

    overrides: tuple[str, ...]
    multirun: bool
    shown: tuple[str, ...]
    no_wait: bool = False


def read_command_line(arguments: Sequence[str]) -> CommandLine:
    """Read the arguments that follow the name of the script.

    Raises:
        UserError: an option is unknown, makes no sense here, or does not go with another.
    """
    parser = get_args_parser()
    parser.add_argument("--no-wait", action="store_true")
    parser.error = _refuse  # type: ignore[method-assign]  # argparse would print its usage and exit
    found = parser.parse_intermixed_args(_add_topic(arguments))
    _refuse_senseless(found)
    overrides = quote_as_typed(found.overrides)
    if found.config_dir is not None:
        overrides = _add_folder(found.config_dir, overrides)
    mode = [one for one in overrides if one.lower() in ("hydra.mode=multirun", "hydra.mode=run")]
    return CommandLine(
        tuple(one for one in overrides if one not in mode),
        found.multirun or "hydra.mode=multirun" in map(str.lower, mode),
        _list_shown(found),
        found.no_wait,
    )


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Take settings apart by Hydra's grammar."""
    return list(OverridesParser.create().parse_overrides(list(overrides)))


def list_values(override: Override) -> list[str]:
    """List the values that a setting is given, without quotes."""
    return [one.text if isinstance(one, QuotedString) else str(one) for one in override.sweep_iterator()]


def refuse_several_values(overrides: Sequence[str], remedy: str) -> None:
    """Refuse a setting of several values by a UserError; the remedy may quote that setting as ``{typed}``."""
    for override in parse_overrides(overrides):
        if override.is_sweep_override():
            typed = str(override.input_line)
            raise UserError(
                f"{typed} gives several values; {remedy.format(typed=typed)}one list is written in brackets: "
                f"{override.key_or_group}=[...]"
            )


def run_once(job: Callable[[], Any]) -> None:
    """Run what ``hydra.main`` made, with what was typed.

    Raises:
        UserError: ``-m``, ``--no-wait`` or a setting of several values, which are for training; an option that makes
            no sense.
    """
    line = read_command_line(sys.argv[1:])
    if line.no_wait:
        raise UserError("--no-wait is for train.py")
    if line.multirun:
        raise UserError("-m is for train.py; several runs or predictions are judged at once: runs=[ONE,OTHER]")
    if not line.shown:
        refuse_several_values(line.overrides, "")
    with set_hydra_arguments([*line.shown, *line.overrides]):
        job()


@contextmanager
def set_hydra_arguments(arguments: Sequence[str]) -> Iterator[None]:
    """Set ``sys.argv`` for ``hydra.main``, which reads nothing else, and for Lightning, whose processes repeat it."""
    before = sys.argv
    sys.argv = [before[0], *arguments]
    try:
        yield
    finally:
        sys.argv = before


def _add_topic(arguments: Sequence[str]) -> list[str]:
    """Read ``--info`` before a setting as ``--info all``; argparse would take the setting for the topic."""
    return [
        f"{argument}=all" if argument == "--info" and "=" in after else argument
        for argument, after in zip(arguments, [*arguments[1:], ""], strict=False)
    ]


def _add_folder(typed: str, overrides: Sequence[str]) -> list[str]:
    """Put ``--config-dir`` into Hydra's search path, so that workers and their children find the folder too."""
    folder = Path(typed).expanduser().absolute()
    if not folder.is_dir():
        raise UserError(f"--config-dir {typed}: there is no such folder")
    others: list[str] = []
    kept = []
    for text, override in zip(overrides, parse_overrides(overrides), strict=True):
        if override.key_or_group == SEARCH_PATH and isinstance(value := override.value(), list):
            others = [str(one) for one in value]
        else:
            kept.append(text)
    places = ",".join(write_setting("", place)[1:] for place in (f"file://{folder}", *others))
    return [*kept, f"{SEARCH_PATH}=[{places}]"]


def _list_shown(found: Namespace) -> tuple[str, ...]:
    flags = [name for name in SHOWN_BY_FLAG if getattr(found, name)]
    values = [f"{name}={getattr(found, name)}" for name in SHOWN_BY_VALUE if getattr(found, name) is not None]
    return tuple("--" + option.replace("_", "-", 1) for option in (*flags, *values))


def _refuse_senseless(found: Namespace) -> None:
    for name, remedy in REFUSED.items():
        if getattr(found, name) is not None:
            raise UserError(f"--{name.replace('_', '-')} is not served here; {remedy}")
    if found.package is not None and found.cfg is None:
        raise UserError("--package only goes with --cfg: --cfg job --package trainer shows this part of the settings")
    if found.resolve and found.cfg is None and not found.help:
        raise UserError("--resolve only goes with --cfg: --cfg job --resolve shows what the settings refer to")
    asked = [name for name in ("cfg", "info", "shell_completion", "multirun", "run") if getattr(found, name)]
    if len(asked) > 1:
        options = " and ".join("--" + name.replace("_", "-") for name in asked)
        raise UserError(f"{options} do not go together; give one of them")


def _refuse(message: str) -> NoReturn:
    raise UserError(f"{message}; --help says what to type, --hydra-help lists the options")
