"""The public sets that the software knows, read from ``datasets.yaml`` beside this file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal

from kicc_ml.core.errors import UserError
from kicc_ml.core.received import read_yaml

FILE = Path(__file__).with_name("datasets.yaml")

#: One number, or one number for each release.
Published = int | Mapping[str, int] | None


@dataclass(frozen=True)
class Part:
    """A part of a set's files: ``path`` is a regular expression that matches paths in small letters.

    With a group ``counted`` in the expression, the distinct values of that group are counted; else the files are
    counted.
    """

    what: str
    path: str
    published: Published = None


@dataclass(frozen=True)
class KnownSet:
    """The facts about one set; the head of ``datasets.yaml`` explains them."""

    name: str
    title: str
    task: str
    hospitals: str
    size: str
    licence: str
    terms: str
    get: tuple[str, ...]
    parts: tuple[Part, ...]
    idc: str = ""
    tcia: str = ""
    cohorts: tuple[str, ...] = ()
    counts: Mapping[str, Published] = field(default_factory=dict)


@dataclass(frozen=True)
class SharedPatients:
    """Two sets that share patients, and the rule for using both; ``site`` is the shared source."""

    sets: tuple[str, str]
    rule: Literal["refuse", "one_side", "note"]
    why: str
    site: str = ""


@cache
def known_sets() -> Mapping[str, KnownSet]:
    """Read all sets, by name."""
    return {name: _known_set(name, facts) for name, facts in _facts()["sets"].items()}


@cache
def shared_patients() -> tuple[SharedPatients, ...]:
    """Read all pairs of sets that share patients."""
    return tuple(SharedPatients(**{**one, "sets": tuple(one["sets"])}) for one in _facts()["shared"])


def known_set(name: str) -> KnownSet:
    """Look up a set by name. Raises UserError, with a list of the names, if there is none."""
    sets = known_sets()
    if name not in sets:
        close = get_close_matches(name, sets, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise UserError(f"no set is called {name!r}{meant} There are {', '.join(sets)}")
    return sets[name]


def shared_with(name: str) -> list[tuple[str, str]]:
    """List the other sets that share patients with this one, each with the reason."""
    pairs = [(one, one.sets) for one in shared_patients() if name in one.sets]
    return [(next(other for other in sets if other != name), one.why) for one, sets in pairs]


@cache
def _facts() -> Mapping[str, Any]:
    return read_yaml(FILE, "install kicc_ml again")


def _known_set(name: str, facts: Mapping[str, Any]) -> KnownSet:
    parts = tuple(Part(**part) for part in facts["parts"])
    lists = {key: tuple(facts.get(key, ())) for key in ("get", "cohorts")}
    return KnownSet(name, **{**facts, **lists, "parts": parts})
