"""Hostile names of scans that somebody hands over, through prediction, the list of patients and their pages."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks.attack import Attacker, Layout, Line, World, none_of
from tests.attacks.hostile_names import DANGEROUS, batches, fits_on_disk, names_on_disk
from tests.attacks.layouts import lay_pictures, lay_refused_scans, lay_scans, lay_zip

pytestmark = pytest.mark.slow

NIFTI = names_on_disk(".nii.gz")


def predict(run: Path, *options: str) -> Line:
    """Predict all scans of the source and list their patients."""

    def line(world: World) -> list[tuple[object, ...]]:
        return [
            ("kicc-ml", "predict", "-i", world.source, "-o", world.out, "--run", run, "--fast", *options),
            ("kicc-ml", "view", world.out, "--no-browse"),
        ]

    return line


@pytest.mark.parametrize("lay", [lay_scans, lay_refused_scans], ids=["predicted", "set aside"])
def test_a_hostile_name_of_a_scan_harms_nobody(attacker: Attacker, lesion_run: Path, lay: Layout):
    line = predict(lesion_run)
    none_of([fault for batch in batches(NIFTI, 100) for fault in attacker.faults(batch, lay, line)])


def test_a_hostile_name_of_a_scan_harms_nobody_on_its_page(attacker: Attacker, lesion_run: Path):
    names = [name for name in DANGEROUS if fits_on_disk(name, ".nii.gz")]
    none_of(attacker.faults(names, lay_scans, predict(lesion_run, "--report"), pages=len(names) + 1))


def test_a_hostile_name_of_a_picture_harms_nobody(attacker: Attacker, radiograph_run: Path):
    names, line = names_on_disk(".png"), predict(radiograph_run)
    none_of([fault for batch in batches(names, 100) for fault in attacker.faults(batch, lay_pictures, line)])


def test_a_scan_that_is_named_itself_harms_nobody(attacker: Attacker, lesion_run: Path):
    def each(world: World) -> list[tuple[object, ...]]:
        scans = sorted(path for path in world.source.iterdir() if path.name != "ordinary.nii.gz")
        return [("kicc-ml", "predict", "-i", scan, "-o", world.out, "--run", lesion_run, "--fast") for scan in scans]

    names = [name for name in DANGEROUS if fits_on_disk(name, ".nii.gz")]
    faults: Callable[[str], list[str]] = lambda name: attacker.faults([name], lay_refused_scans, each)  # noqa: E731
    none_of([fault for name in (*names, "", ".") for fault in faults(name)])


def test_a_hostile_name_in_an_archive_harms_nobody_who_predicts_it(attacker: Attacker, radiograph_run: Path):
    def line(world: World) -> list[tuple[object, ...]]:
        archive = world.source / "export.zip"
        return [("kicc-ml", "predict", "-i", archive, "-o", world.out, "--run", radiograph_run, "--fast", "--report")]

    none_of(attacker.faults(list(DANGEROUS), lay_zip, line))
