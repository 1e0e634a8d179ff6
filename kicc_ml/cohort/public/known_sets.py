"""The public sets that are known here, from ``datasets.yaml`` beside this file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal

from kicc_ml.core.errors import UserError
from kicc_ml.core.received import read_yaml

FILE = Path(__file__).with_name("datasets.yaml")

#: A number, or one of each release.
Published = int | Mapping[str, int] | None


@dataclass(frozen=True)
class Part:
    """Something that lies in the folder of a set: ``path`` is a regular expression of paths in small letters.

    What its group ``counted`` holds is counted, each once; without that group the files are.
    """

    what: str
    path: str
    published: Published = None


@dataclass(frozen=True)
class KnownSet:
    """Facts of one set; see the head of ``datasets.yaml``."""

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
    """Two sets that hold the same patients, and what follows where both are used; ``site`` is where they are from."""

    sets: tuple[str, str]
    rule: Literal["refuse", "one_side", "note"]
    why: str
    site: str = ""


@cache
def known_sets() -> Mapping[str, KnownSet]:
    """All sets by name."""
    return {name: _known_set(name, facts) for name, facts in _facts()["sets"].items()}


@cache
def shared_patients() -> tuple[SharedPatients, ...]:
    """All pairs of sets that hold the same patients."""
    return tuple(SharedPatients(**{**one, "sets": tuple(one["sets"])}) for one in _facts()["shared"])


def known_set(name: str) -> KnownSet:
    """The set of a name. Raises UserError that names those there are."""
    sets = known_sets()
    if name not in sets:
        close = get_close_matches(name, sets, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise UserError(f"no set is called {name!r}{meant} There are {', '.join(sets)}")
    return sets[name]


def shared_with(name: str) -> list[tuple[str, str]]:
    """Names of other sets that hold patients of this one, and what is known of that."""
    pairs = [(one, one.sets) for one in shared_patients() if name in one.sets]
    return [(next(other for other in sets if other != name), one.why) for one, sets in pairs]


@cache
def _facts() -> Mapping[str, Any]:
    return read_yaml(FILE, "install kicc_ml again")


def _known_set(name: str, facts: Mapping[str, Any]) -> KnownSet:
    parts = tuple(Part(**part) for part in facts["parts"])
    lists = {key: tuple(facts.get(key, ())) for key in ("get", "cohorts")}
    return KnownSet(name, **{**facts, **lists, "parts": parts})
