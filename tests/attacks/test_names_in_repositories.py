"""Hostile names wherever a repository holds one, through everything that reads a repository."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.attacks.attack import Attacker, Layout, Line, World, none_of
from tests.attacks.hostile_names import HOSTILE, all_names, batches, fits_on_disk, names_on_disk
from tests.attacks.layouts import (
    lay_cells,
    lay_columns,
    lay_files,
    lay_masks,
    lay_patients,
    lay_sites,
    lay_texts,
    lay_uids,
    lay_zip,
)

pytestmark = pytest.mark.slow

PLACES: dict[str, tuple[Layout, Sequence[str]]] = {
    "hospital folder": (lay_sites, names_on_disk()),
    "file and folder": (lay_files, names_on_disk()),
    "folder of masks": (lay_masks, names_on_disk()),
    "patient number": (lay_patients, all_names()),
    "DICOM text": (lay_texts, all_names()),
    "DICOM UID": (lay_uids, all_names()),
    "column": (lay_columns, all_names()),
    "cell": (lay_cells, all_names()),
}


def index(world: World) -> list[tuple[object, ...]]:
    page, table = world.out / "index.html", world.out / "index.parquet"
    return [
        ("kicc-ml", "index", world.source, "--html", page, "--out", table, "--series"),
        ("kicc-ml", "index", world.source, "--json"),
    ]


def doctor(world: World) -> list[tuple[object, ...]]:
    return [("kicc-ml", "doctor", world.source), ("kicc-ml", "doctor", world.source, "--json")]


def summary(world: World) -> list[tuple[object, ...]]:
    world.out.mkdir(parents=True)
    table = world.out / "summary.csv"
    return [("kicc-ml", "summary", world.source, "--csv", table), ("kicc-ml", "summary", world.source, "--json")]


def cases(world: World) -> list[tuple[object, ...]]:
    cohort = ("cohort=repository", f"cohort.root={world.source}", "cohort.index_cache=null")
    return [("kicc-ml", "cases", *cohort), ("kicc-ml", "cases", "--files", *cohort)]


def export_dataset(world: World) -> list[tuple[object, ...]]:
    again = world.out / "again"
    return [
        ("kicc-ml", "export-dataset", world.source, "-o", world.out / "copy"),
        ("kicc-ml", "export-dataset", world.out / "copy", "-o", again),
    ]


LINES: tuple[Line, ...] = (index, doctor, summary, cases, export_dataset)


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.__name__)
@pytest.mark.parametrize("place", PLACES)
def test_a_hostile_name_in_a_repository_harms_nobody(attacker: Attacker, place: str, line: Line):
    lay, names = PLACES[place]
    none_of([fault for batch in batches(names, 100) for fault in attacker.faults(batch, lay, line)])


def zipped(line: Line) -> Line:
    """The same commands on the archive."""

    def of_archive(world: World) -> list[tuple[object, ...]]:
        archive = world.source / "export.zip"
        return [tuple(archive if word == world.source else word for word in command) for command in line(world)]

    return of_archive


@pytest.mark.parametrize("line", [index, doctor, export_dataset], ids=lambda line: line.__name__)
def test_a_hostile_name_in_an_archive_harms_nobody(attacker: Attacker, line: Line):
    faults = [attacker.faults(batch, lay_zip, zipped(line)) for batch in batches(all_names(), 100)]
    none_of([fault for some in faults for fault in some])


#: Those that mean something to a shell, a setting, an address, a format or a codec.
MEANING = ("links", "hydra", "shell", "formats", "no UTF-8", "control characters", "blanks", "pairs")


def test_a_source_of_any_name_harms_nobody(attacker: Attacker):
    def lay(source: Path, names: Sequence[str]) -> None:
        for name in names:
            lay_sites(source / name, ["site-0"])

    def each(world: World) -> list[tuple[object, ...]]:
        sources = sorted(world.source.iterdir())
        return [("kicc-ml", "index", path, "--html", world.out / path.name / "x.html") for path in sources]

    names = [name for kind in MEANING for name in HOSTILE[kind] if fits_on_disk(name)]
    none_of([fault for batch in batches(names, 10) for fault in attacker.faults(batch, lay, each)])
