"""Libraries: a received run may name networks and transforms of theirs, and nothing else.

Everybody trusts pandas, but ``pandas.read_pickle`` executes what a file says, and a run folder would name the file.
Trust in a library therefore reaches only those parts that compute and do nothing else.
"""

import importlib.metadata
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from kicc_ml.core.errors import UserError

#: This project, as its distribution and its package are called.
OWN_NAME = "kicc_ml"
#: Modules of libraries whose parts a received run may name.
PARTS_OF_RUNS = (
    *("monai.networks.nets", "monai.networks.blocks", "monai.networks.layers", "monai.transforms"),
    *("torch.nn", "torchio.transforms"),
)
#: Modules among them that read and write files, and import by name what their settings say.
NOT_OF_RUNS = ("monai.transforms.io", "monai.transforms.utils_create_transform_ims")


def is_library(package: str) -> bool:
    """Whether a package is of Python itself, of this project, or of what this project needs.

    Raises:
        UserError: this project is not installed, so that nothing says what it needs.
    """
    if package in sys.stdlib_module_names or package == OWN_NAME:
        return True
    distributions = importlib.metadata.packages_distributions().get(package, [])
    return not _list_needed().isdisjoint(map(_normalize, distributions))


def is_part_of_runs(name: str) -> bool:
    """Whether a dotted name, or the module that a part lies in, is among the parts of libraries that runs may name."""
    return _is_in(name, PARTS_OF_RUNS) and not _is_in(name, NOT_OF_RUNS)


def find_place(settings: Any) -> str | None:
    """Find the first text in plain settings that can name a file or an address; None if there is none."""
    return next((text for text in _iterate_texts(settings) if "/" in text or "\\" in text), None)


def _iterate_texts(settings: Any) -> Iterator[str]:
    if isinstance(settings, str):
        yield settings
    elif isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from _iterate_texts(key)
            yield from _iterate_texts(value)
    elif isinstance(settings, Sequence):
        for value in settings:
            yield from _iterate_texts(value)


def _is_in(name: str, modules: Collection[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


@cache
def _list_needed() -> frozenset[str]:
    """List the distributions that this project needs, and those that they need in turn."""
    try:
        waiting = [_normalize(one) for one in importlib.metadata.requires(OWN_NAME) or ()]
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError("kicc_ml is not installed, so parts from elsewhere are not trusted; pip install it") from error
    found: set[str] = set()
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            waiting += [_normalize(one) for one in _list_requirements(name) if "extra ==" not in one]
    return frozenset(found)


def _list_requirements(distribution: str) -> list[str]:
    try:
        return importlib.metadata.requires(distribution) or []
    except importlib.metadata.PackageNotFoundError:  # of another system, or an extra that is not installed
        return []


def _normalize(requirement: str) -> str:
    """Write the name of a distribution, or of a requirement, in the one spelling of the packaging standard."""
    name = re.match(r"[\w.-]*", requirement)
    return re.sub(r"[-_.]+", "-", name[0] if name else "").lower()
