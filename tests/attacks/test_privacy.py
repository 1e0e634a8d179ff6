"""Nobody's name: marks in everything that identifies a patient, and every command, and no mark in what it gives.

docs/outputs.md says which outputs are identified on purpose: ``kicc-ml export``, ``predict --dicom`` and
``--identified``. What is kept for the user in the cache folder may hold anything if nobody else can read it.

"""

import io
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from tests.attacks.commands import SMALL, Commands, Said
from tests.attacks.digging import found_below, found_in
from tests.attacks.layouts import chest
from tests.attacks.markers import WORD, mark_nifti, mark_repository, marks
from tests.support.phantom_files import write_radiograph

pytestmark = pytest.mark.slow

MARKS = marks()
CLINICAL = ("experiment=clinical", "split=patient_kfold", "split.folds=2")
LESION = ("experiment=lesion_ct", *SMALL, "split=site_kfold", "split.folds=2")


@dataclass(frozen=True)
class Swept:
    """A marked repository, and commands run on it one after the other, each with a folder for what it gives."""

    commands: Commands
    folder: Path

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    def out(self, name: str) -> Path:
        path = self.folder / "outputs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def run(self, script: str, *arguments: object) -> Said:
        cwd = self.folder / "outputs" / "cwd"
        cwd.mkdir(parents=True, exist_ok=True)
        said = self.commands.run(cwd, script, *arguments)
        assert said.status in (0, 3), f"{said.stdout[-500:]} {said.stderr[-1500:]}"
        return said

    def cohort(self, run: str) -> Sequence[str]:
        return (
            *("cohort=repository", f"cohort.root={self.repository}", f"run_dir={self.out(run)}"),
            *("guard_endpoints=[]", "image_window_days=null", f"store_dir={self.out('store')}"),
        )


def spoken(*answers: Said) -> list[str]:
    """Marks in what commands printed."""
    texts = [text for said in answers for text in (said.stdout, said.stderr)]
    return [found for text in texts for found in found_in(text.encode("utf-8", "surrogateescape"), MARKS)]


def written(*folders: Path) -> list[str]:
    """Marks in what they wrote."""
    found = {path: some for folder in folders for path, some in found_below(folder, MARKS).items()}
    return [f"{path.name}: {mark!r}" for path, some in found.items() for mark in some[:2]]


def kept_open(folder: Path) -> list[str]:
    """Files with marks below a folder of what is kept for the user, that others may read."""
    return [str(path.relative_to(folder)) for path in found_below(folder, MARKS) if not _closed(path, folder)]


def _closed(path: Path, folder: Path) -> bool:
    """Whether the file, or a folder on the way to it, can be entered by its owner alone."""
    way = [one for one in (path, *path.parents) if folder in one.parents]
    return any(not stat.S_IMODE(one.stat().st_mode) & 0o077 for one in way)


def nothing(found: Sequence[str]) -> None:
    assert not found, "\n".join(found[:25]).encode("ascii", "backslashreplace").decode() + f"\n{len(found)} in all"


@pytest.fixture(scope="module")
def swept(commands: Commands, demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    folder = tmp_path_factory.mktemp("swept")
    mark_repository(demo, folder / "repository")
    (folder / "repository" / ".kicc-key").write_text("0123456789abcdef" * 4, encoding="utf-8")
    (folder / "repository" / ".kicc-key").chmod(0o600)
    return Swept(commands, folder)


@pytest.fixture(scope="module")
def archive(swept: Swept) -> Path:
    """The repository in an archive, which was unpacked once."""
    archive = Path(shutil.make_archive(str(swept.folder / "export"), "zip", swept.repository))
    swept.run("kicc-ml", "index", archive)
    return archive


@pytest.fixture(scope="module")
def clinical(swept: Swept) -> Said:
    return swept.run("train.py", *CLINICAL, *swept.cohort("clinical"))


@pytest.fixture(scope="module")
def lesion(swept: Swept) -> Said:
    return swept.run("train.py", *LESION, *swept.cohort("lesion"))


def test_every_image_of_the_marked_repository_is_still_used(swept: Swept):
    swept.run("kicc-ml", "index", swept.repository, "--decode", "--out", swept.out("check/index.parquet"))
    table = pd.read_parquet(swept.out("check/index.parquet"))
    series = table[table["kind"] == "series"]
    assert len(series) >= 16
    assert (series["verdict"] != "refused").all(), series[["reasons", "modality"]].to_string()


def test_the_index_names_nobody(swept: Swept):
    page, table = swept.out("index/index.html"), swept.out("index/index.parquet")
    said = [
        swept.run("kicc-ml", "index", swept.repository, "--html", page, "--out", table, "--series"),
        swept.run("kicc-ml", "index", swept.repository, "--json", "--decode"),
    ]
    nothing(spoken(*said) + written(page.parent))


def test_the_doctor_names_nobody(swept: Swept):
    nothing(
        spoken(*(swept.run("kicc-ml", "doctor", swept.repository, *more) for more in ((), ("--json",), ("--decode",))))
    )


def test_summary_and_case_ids_name_nobody(swept: Swept):
    table = swept.out("summary/summary.csv")
    said = [
        swept.run("kicc-ml", "summary", swept.repository, "--csv", table),
        swept.run("kicc-ml", "summary", swept.repository, "--json"),
        swept.run(
            "kicc-ml", "cases", "cohort=repository", f"cohort.root={swept.repository}", "cohort.index_cache=null"
        ),
    ]
    nothing(spoken(*said) + written(table.parent))


def test_an_archive_names_nobody(swept: Swept, archive: Path):
    page, copy = swept.out("archive/index.html"), swept.out("archive/copy")
    said = [
        swept.run("kicc-ml", "index", archive, "--html", page, "--json"),
        swept.run("kicc-ml", "doctor", archive),
        swept.run("kicc-ml", "export-dataset", archive, "-o", copy),
    ]
    nothing(spoken(*said) + written(page.parent))


def test_the_copy_for_others_names_nobody(swept: Swept):
    said = swept.run("kicc-ml", "export-dataset", swept.repository, "-o", swept.out("copy"))
    assert len(list(swept.out("copy").rglob("*.dcm"))) > 100
    assert list(swept.out("copy").rglob("*.nii.gz"))
    nothing(spoken(said) + written(swept.out("copy")))


def test_a_comment_within_a_picture_is_not_copied(swept: Swept):
    source = swept.folder / "commented"
    lossy = write_commented_film(source / "site" / "film.dcm")
    said = swept.run("kicc-ml", "export-dataset", source, "-o", swept.out("commented"))
    assert found_in(lossy.read_bytes(), MARKS)
    nothing(spoken(said) + written(swept.out("commented")))


def write_commented_film(path: Path) -> Path:
    """A radiograph in JPEG whose comment names the patient."""
    grey, coded = np.random.default_rng(0).integers(0, 256, (32, 40)).astype(np.uint8), io.BytesIO()
    Image.fromarray(grey).save(coded, "JPEG", comment=WORD.encode())
    write_radiograph(path, grey, LossyImageCompression="01")
    dataset = pydicom.dcmread(path)
    dataset.PixelData = encapsulate([coded.getvalue()])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.save_as(path)
    return path


def test_a_clinical_run_names_nobody(swept: Swept, clinical: Said):
    nothing(spoken(clinical) + written(swept.out("clinical")))


def test_a_lesion_run_names_nobody(swept: Swept, lesion: Said):
    assert list(swept.out("lesion").rglob("page.html"))
    nothing(spoken(lesion) + written(swept.out("lesion")))


def test_judging_viewing_and_comparing_runs_names_nobody(swept: Swept, clinical: Said, lesion: Said):
    said = [
        swept.run("evaluate.py", f"runs=[{swept.out('clinical')},{swept.out('lesion')}]"),
        swept.run("kicc-ml", "view", swept.out("lesion"), "--no-browse"),
    ]
    nothing(spoken(*said) + written(swept.out("clinical"), swept.out("lesion")))


def test_judging_predictions_of_others_names_nobody(swept: Swept, clinical: Said):
    rows = pd.concat([pd.read_csv(path) for path in sorted(swept.out("clinical").rglob("*/predictions.csv"))])
    theirs = swept.folder / "theirs.csv"
    rows = rows[(rows["model"] == "clinical") & (rows["endpoint"] == "icu")].fillna({"probability": 0.5})
    rows[["case_id", "endpoint", "probability"]].to_csv(theirs, index=False)
    cohort = [word for word in swept.cohort("unused") if not word.startswith("run_dir=")]
    said = swept.run("evaluate.py", f"predictions={theirs}", *cohort, f"report_dir={swept.out('report')}")
    nothing(spoken(said) + written(swept.out("report")))


def test_predictions_for_new_scans_name_nobody(swept: Swept, clinical: Said, lesion: Said):
    site = next(
        path for path in sorted(swept.repository.iterdir()) if (path / "..").exists() and path.name[-2:] == "-1"
    )
    outcome = ("--outcome-run", swept.out("clinical"), "--clinical", swept.repository / "clinical.csv")
    run = ("--run", swept.out("lesion"), "--fast", "--report")
    said = [
        swept.run("kicc-ml", "predict", "-i", site, "-o", swept.out("predicted"), *run, *outcome),
        swept.run("kicc-ml", "view", swept.out("predicted"), "--no-browse"),
    ]
    assert list(swept.out("predicted").rglob("lesion.nii.gz"))
    nothing(spoken(*said) + written(swept.out("predicted")))


def test_predictions_for_marked_niftis_and_pictures_name_nobody(swept: Swept, lesion: Said, radiograph_run: Path):
    source = swept.folder / "handed-over"
    source.mkdir()
    nib.save(nib.Nifti1Image(*chest()), swept.folder / "plain.nii.gz")
    mark_nifti(swept.folder / "plain.nii.gz", source / "scan.nii.gz")
    exif = Image.Exif()
    exif[0x9286], exif[0x013B] = WORD, WORD  # a comment, the artist
    grey = np.random.default_rng(1).integers(0, 256, (32, 40)).astype(np.uint8)
    Image.fromarray(grey).save(source / "film.jpg", comment=WORD.encode(), exif=exif)
    said = [
        swept.run(
            "kicc-ml", "predict", "-i", source, "-o", swept.out("niftis"), "--run", swept.out("lesion"), "--report"
        ),
        swept.run("kicc-ml", "predict", "-i", source, "-o", swept.out("pictures"), "--run", radiograph_run, "--report"),
    ]
    nothing(spoken(*said) + written(swept.out("niftis"), swept.out("pictures")))


def test_what_is_identified_on_purpose_lies_where_it_was_asked_for_and_is_closed(swept: Swept, lesion: Said):
    before = written(swept.out("lesion"))
    said = swept.run("kicc-ml", "export", swept.out("lesion"), "-o", swept.out("identified"))
    assert not spoken(said)
    assert written(swept.out("identified")), "these go back to the hospital's archive, so they name the patient"
    assert stat.S_IMODE(swept.out("identified").stat().st_mode) == 0o700
    nothing([found for found in written(swept.out("lesion")) if found not in before])


@pytest.mark.usefixtures("archive", "clinical", "lesion")
def test_what_is_kept_for_the_user_is_closed_to_others(swept: Swept):
    cache = swept.commands.home / "cache"
    assert found_below(cache, MARKS), "the archive was unpacked there"
    nothing(kept_open(cache) + kept_open(swept.out("store")))
