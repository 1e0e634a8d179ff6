"""Hostile ids in public tables of metadata and in predictions that somebody else made."""

from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from tests.attacks.attack import Attacker, Line, World, none_of
from tests.attacks.commands import Commands, setting
from tests.attacks.hostile_names import DANGEROUS, all_names, batches, fits_on_disk, names_on_disk
from tests.attacks.layouts import lay_plain_sites, write_table

pytestmark = pytest.mark.slow

#: The columns of the public table of radiographs.
METADATA = (
    *(
        "image_id",
        "site",
        "person_group",
        "near_duplicate_group",
        "sex",
        "age",
        "covid",
        "modality",
        "view",
        "is_frontal",
    ),
    *("offset_days", "in_icu_at_image", "icu_admission_offset", "death_offset", "supplemental_o2", "intubated"),
    *("went_icu", "death", "finding", "geographic_extent", "opacity", "brixia_S", "brixia_J"),
)
FIXED = {
    **{"sex": "M", "age": "50", "covid": "1", "modality": "X-ray", "view": "PA", "is_frontal": "1", "offset_days": "0"},
    **{"in_icu_at_image": "0", "went_icu": "1", "death": "0", "finding": "No Finding", "geographic_extent": "3"},
    **{"opacity": "2", "brixia_S": "5", "brixia_J": "6"},
}


def lay_metadata(columns: Sequence[str]) -> Callable[[Path, Sequence[str]], None]:
    """A layout of the public radiographs in which each name stands in the columns given."""

    def lay(root: Path, names: Sequence[str]) -> None:
        (root / "cxr" / "images").mkdir(parents=True)
        own = {"image_id": "image-{}", "site": "country-{}", "person_group": "person-{}"}
        rows = []
        for at, name in enumerate(names):
            row = FIXED | {key: text.format(at) for key, text in own.items()} | dict.fromkeys(columns, name)
            rows.append([row.get(column, "") for column in METADATA])
            if fits_on_disk(row["image_id"], ".jpg"):
                with (root / "cxr" / "images" / f"{row['image_id']}.jpg").open("wb") as file:
                    Image.fromarray(np.full((32, 40), at % 256, np.uint8)).save(file, "JPEG")
        write_table(root / "cxr" / "metadata.csv", METADATA, rows)

    return lay


@pytest.mark.parametrize("columns", [["image_id"], ["site", "person_group"]], ids=["image", "country and person"])
@pytest.mark.parametrize("cohort", ["covid_cxr", "covid_cxr_masks", "covid_cxr_severity"])
def test_a_hostile_id_in_a_public_table_harms_nobody(attacker: Attacker, cohort: str, columns: list[str]):
    def cases(world: World) -> list[tuple[object, ...]]:
        root = setting("cohort.root", str(world.source))
        return [
            ("kicc-ml", "cases", f"cohort={cohort}", root),
            ("kicc-ml", "cases", "--files", f"cohort={cohort}", root),
        ]

    lay = lay_metadata(columns)
    none_of([fault for some in batches(all_names(), 100) for fault in attacker.faults(some, lay, cases)])


@pytest.mark.parametrize("columns", [["image_id"], ["site", "person_group"]], ids=["image", "country and person"])
def test_a_hostile_id_in_a_public_table_harms_no_training(attacker: Attacker, columns: list[str]):
    def line(world: World) -> list[tuple[object, ...]]:
        root = setting("cohort.root", str(world.source))
        where = ("cohort=covid_cxr", root, f"run_dir={world.out / 'run'}", f"store_dir={world.out / 'store'}")
        settings = ("experiment=clinical", "data.endpoints=[icu]", "split=patient_kfold", "split.folds=2")
        return [("train.py", *where, *settings), ("evaluate.py", f"runs={world.out / 'run'}")]

    lay = lay_metadata(columns)
    none_of([fault for some in batches(all_names(), 100) for fault in attacker.faults(some, lay, line)])


@pytest.fixture(scope="module")
def case_ids(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> Sequence[str]:
    """Of the cohort that the predictions below are of; its key lies in it."""
    root = tmp_path_factory.mktemp("cohort") / "source"
    lay_cohort(root)
    said = commands.run(
        root.parent, "kicc-ml", "cases", "cohort=repository", f"cohort.root={root}", "cohort.index_cache=null"
    )
    assert said.status == 0, said.stderr
    return said.stdout.split()


def lay_cohort(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / ".kicc-key").write_text("0123456789abcdef" * 4, encoding="utf-8")
    (root / ".kicc-key").chmod(0o600)
    lay_plain_sites(root, [f"p{number}" for number in range(6)])


def judged(*files: str) -> Line:
    """Judge predictions that lie beside the cohort."""

    def line(world: World) -> list[tuple[object, ...]]:
        predictions = [str(path) for name in files for path in sorted((world.source / "theirs").glob(name))]
        cohort = (
            "cohort=repository",
            setting("cohort.root", str(world.source / "cohort")),
            f"store_dir={world.out / 'store'}",
        )
        return [("evaluate.py", setting("predictions", predictions), *cohort, f"report_dir={world.out / 'report'}")]

    return line


@pytest.mark.parametrize("column", ["case_id", "endpoint", "probability", "header"])
def test_a_hostile_cell_of_predictions_harms_nobody(attacker: Attacker, case_ids: Sequence[str], column: str):
    def lay(root: Path, names: Sequence[str]) -> None:
        lay_cohort(root / "cohort")
        header = ["case_id", "endpoint", "probability", *(names if column == "header" else ())]
        rows = [[case_id, "death", 0.1 + 0.1 * at, *("x" for _ in header[3:])] for at, case_id in enumerate(case_ids)]
        for name in names if column != "header" else ():
            odd = {"case_id": case_ids[0], "endpoint": "death", "probability": 0.5} | {column: name}
            rows.append([odd["case_id"], odd["endpoint"], odd["probability"]])
        (root / "theirs").mkdir()
        write_table(root / "theirs" / "model.csv", header, rows)

    names = all_names() if column in ("case_id", "endpoint") else DANGEROUS
    none_of(
        [fault for few in batches(names, 5) for fault in attacker.faults(few, lay, judged("model.csv"), halve=False)]
    )


def test_a_hostile_name_of_a_file_of_predictions_harms_nobody(attacker: Attacker, case_ids: Sequence[str]):
    def lay(root: Path, names: Sequence[str]) -> None:
        lay_cohort(root / "cohort")
        (root / "theirs").mkdir()
        rows = [[case_id, "death", 0.1 + 0.1 * at] for at, case_id in enumerate(case_ids)]
        for name in names:
            write_table(root / "theirs" / f"{name}.csv", ["case_id", "endpoint", "probability"], rows)

    names = [name for name in DANGEROUS if fits_on_disk(name, ".csv")]
    none_of([fault for some in batches(names, 4) for fault in attacker.faults(some, lay, judged("*"))])


def test_a_hostile_name_among_predicted_masks_harms_nobody(attacker: Attacker, demo: Path):
    def lay(root: Path, names: Sequence[str]) -> None:
        (root / "theirs").mkdir()
        mask = nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4))
        nib.save(mask, root / "mask.nii.gz")
        content = (root / "mask.nii.gz").read_bytes()
        for name in names:
            (root / "theirs" / f"{name}.nii.gz").write_bytes(content)
            (root / "theirs" / f"{name}.dcm").write_bytes(b"no segmentation")

    def line(world: World) -> list[tuple[object, ...]]:
        cohort = ("cohort=repository", f"cohort.root={demo}", f"store_dir={world.out / 'store'}")
        theirs = setting("predictions", str(world.source / "theirs"))
        return [("evaluate.py", theirs, *cohort, f"report_dir={world.out / 'report'}")]

    names = names_on_disk(".nii.gz")
    none_of([fault for few in batches(names, 5) for fault in attacker.faults(few, lay, line, halve=False)])
