"""Settings of a plan as they are typed: ``NAME=VALUE``, lists as ``NAME=8,16,32``."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from kicc_ml.core.errors import UserError
from kicc_ml.federated.plan import Plan

#: Settings that have an option of their own, which would win.
OPTIONS = ("task", "rounds")

#: Settings with several values.
SEVERAL = ("channels", "spacing_mm", "patch_size")


def parse_settings(typed: Sequence[str]) -> dict[str, Any]:
    """Parse settings of a plan. What each may be is checked by :func:`kicc_ml.federated.plan.parse_plan`.

    Args:
        typed: ``NAME=VALUE`` for each.

    Raises:
        UserError: one has no ``=``, a name that no plan has, or an option of its own.
    """
    values: dict[str, Any] = {}
    names = ", ".join(name for name in vars(Plan()) if name not in OPTIONS)
    for text in typed:
        name, equals, value = text.partition("=")
        if name in OPTIONS:
            raise UserError(f"--set {text}: {name} has an option of its own; give --{name} {value}")
        if not equals or name not in vars(Plan()):
            raise UserError(f"--set {text}: give NAME=VALUE, where NAME is one of {names}")
        parts = [_parse_number(part) for part in value.split(",")]
        values[name] = parts if name in SEVERAL else parts[0] if len(parts) == 1 else value
    return values


def _parse_number(text: str) -> int | float | str:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text
