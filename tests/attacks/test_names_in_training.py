"""Hostile names of hospitals, endpoints, columns and predictions through training, scoring and their reports."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.attacks.attack import Attacker, Line, World, none_of
from tests.attacks.commands import setting
from tests.attacks.hostile_names import DANGEROUS, all_names, batches, fits_on_disk, names_on_disk
from tests.attacks.layouts import (
    COLUMNS,
    lay_columns,
    lay_patients,
    lay_plain_sites,
    lay_sites,
    patient_row,
    write_film,
    write_table,
)

pytestmark = pytest.mark.slow

ON_DISK = [name for name in DANGEROUS if fits_on_disk(name)]
PLAIN = ("experiment=clinical", "cohort=repository", "data.endpoints=[death]")


def trained(world: World, *settings: str) -> list[tuple[object, ...]]:
    """A clinical run of the source, judged once more."""
    where = (
        setting("cohort.root", str(world.source)),
        f"run_dir={world.out / 'run'}",
        f"store_dir={world.out / 'store'}",
    )
    return [
        ("train.py", *PLAIN, *where, *settings),
        ("evaluate.py", f"runs={world.out / 'run'}"),
    ]


def lay_two_each(root: Path, names: Sequence[str]) -> None:
    """Each name a hospital with three patients, beside two of ordinary names."""
    rows = []
    for number, (site, patient) in enumerate((site, at) for site in (*names, "busan", "daegu") for at in range(3)):
        rows.append(patient_row(number, site, f"p{patient}"))
        write_film(root / site / f"{patient}.dcm", number, f"p{patient}")
    write_table(root / "clinical.csv", COLUMNS, rows)


def test_a_hospital_of_a_hostile_name_is_held_out_like_any_other(attacker: Attacker):
    batch = batches(ON_DISK, 8)
    none_of([fault for names in batch for fault in attacker.faults(names, lay_two_each, trained)])


def test_hostile_names_of_hospitals_columns_and_patients_harm_no_training(attacker: Attacker):
    def line(world: World) -> list[tuple[object, ...]]:
        return trained(world, "split=patient_kfold", "split.folds=2")

    places = {lay_sites: names_on_disk(), lay_patients: all_names(), lay_columns: all_names()}
    none_of(
        [
            fault
            for lay, names in places.items()
            for some in batches(names, 100)
            for fault in attacker.faults(some, lay, line)
        ]
    )


def lay_ordinary(root: Path, names: Sequence[str]) -> None:
    """Twelve patients of whom nothing is hostile; what is lies in the command."""
    lay_plain_sites(root, [f"p{number}" for number in range(12)])


def by_composite(names: Sequence[str]) -> Line:
    """The cohort, and a clinical run, with an endpoint of each name."""

    def line(world: World) -> list[tuple[object, ...]]:
        entries = ",".join(f"{setting('', name)[1:]}:[icu,death]" for name in names)
        root = setting("cohort.root", str(world.source))
        cohort = ("cohort=repository", root, "cohort.index_cache=null", f"cohort.composites={{{entries}}}")
        return [("kicc-ml", "cases", *cohort)]

    return line


def test_an_endpoint_of_a_hostile_name_harms_nobody(attacker: Attacker):
    faults = [attacker.faults([name], lay_ordinary, by_composite([name])) for name in all_names() if "\0" not in name]
    none_of([fault for some in faults for fault in some])


def test_an_endpoint_of_a_hostile_name_harms_no_training(attacker: Attacker):
    def line_of(names: Sequence[str]) -> Line:
        entries = ",".join(f"{setting('', name)[1:]}:[icu,death]" for name in names)
        settings = (
            f"cohort.composites={{{entries}}}",
            setting("data.endpoints", names),
            "split=patient_kfold",
            "split.folds=2",
        )
        return lambda world: trained(world, *settings)

    faults = [attacker.faults([name], lay_ordinary, line_of([name])) for name in DANGEROUS]
    none_of([fault for some in faults for fault in some])
