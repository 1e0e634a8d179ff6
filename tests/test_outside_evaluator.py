"""An evaluator's walk: what SimpleITK, highdicom and plain Python predicted, benchmarked by one command."""

import csv
import io
import json
from pathlib import Path

import highdicom as hd
import numpy as np
import pandas as pd
import pytest
import SimpleITK
from pydicom import dcmread
from pydicom.sr.codedict import codes

from tests.support.commands import EVALUATE, KICC_ML, TRAIN, finished, refused, run

pytestmark = pytest.mark.slow

#: Everything between air in the lungs and soft tissue: a crude lesion.
OPACITY_HU = (-700.0, -150.0)
ENDPOINTS = ("oxygen", "icu")
STUDY = ("PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "ReferringPhysicianName")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outside")


@pytest.fixture(scope="module")
def repository(folder: Path) -> Path:
    size = ("--patients", 12, "--sites", 3, "--matrix", 32, "--slices", 16, "--seed", 5)
    result = run(*KICC_ML, "synthesize", "--preset", "demo", *size, folder / "repository")
    assert result.returncode == 0, result.stderr
    return folder / "repository"


@pytest.fixture(scope="module")
def cases(repository: Path) -> list[dict[str, str]]:
    """What ``kicc-ml cases --files`` tells an outsider: ids, hospitals, and where the images lie."""
    result = run(*KICC_ML, "cases", "--files", "cohort=repository", f"cohort.root={repository}")
    assert result.returncode == 0, result.stderr
    return list(csv.DictReader(io.StringIO(result.stdout)))


def series_files(first: Path) -> list[Path]:
    """The slices of the series of ``first``, in order of position, without localizers, dose pages or copies."""
    uid = dcmread(first, stop_before_pixels=True).SeriesInstanceUID
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(first.parent), uid)
    images = {Path(name): dcmread(name, stop_before_pixels=True) for name in names}
    kind = (images[first].SOPClassUID, images[first].Rows, images[first].ImageOrientationPatient)
    at_mm = {
        float(image.ImagePositionPatient[2]): path  # a slice that was sent twice counts once
        for path, image in images.items()
        if (image.SOPClassUID, image.get("Rows"), image.get("ImageOrientationPatient")) == kind
    }
    return [at_mm[height_mm] for height_mm in sorted(at_mm)]


def opacity(files: list[Path]) -> SimpleITK.Image:
    image = SimpleITK.ReadImage([str(path) for path in files])
    return SimpleITK.BinaryThreshold(image, *OPACITY_HU)


def empty(mask: SimpleITK.Image) -> bool:
    return not SimpleITK.GetArrayViewFromImage(mask).any()


def reference(folder: Path) -> SimpleITK.Image:
    """The lesion as the readers drew it: whole, or as ground glass and consolidation."""
    paths = [folder / f"{region}.nii.gz" for region in ("lesion", "ground_glass", "consolidation")]
    masks = [SimpleITK.ReadImage(str(path), SimpleITK.sitkUInt8) for path in paths if path.exists()]
    return sum(masks[1:], masks[0]) > 0


def write_segmentation(path: Path, files: list[Path], mask_zyx: np.ndarray) -> None:
    images = [dcmread(one) for one in files]
    for image in images:
        image.SpecificCharacterSet = "ISO_IR 192"
        for name in STUDY:
            setattr(image, name, "")
    lesion = hd.seg.SegmentDescription(1, "infection", codes.SCT.Tissue, codes.SCT.Tissue, "MANUAL")
    kind, maker = hd.seg.SegmentationTypeValues.BINARY, ("Elsewhere", "Other", "1", "1")
    hd.seg.Segmentation(images, mask_zyx, kind, [lesion], hd.UID(), 9, hd.UID(), 1, *maker).save_as(path)


@pytest.fixture(scope="module")
def predictions(folder: Path, cases: list[dict[str, str]]) -> tuple[Path, Path]:
    """A CSV of every case and a folder of masks of every CT: NIfTI, and the last as DICOM Segmentation."""
    masks = folder / "thresholded"
    masks.mkdir()
    with_ct = [case for case in cases if case["ct"]]
    for case in with_ct:
        files = series_files(Path(case["ct"]))
        mask = opacity(files)
        if case is with_ct[-1]:
            write_segmentation(masks / f"{case['case_id']}.dcm", files, SimpleITK.GetArrayFromImage(mask))
        else:
            SimpleITK.WriteImage(mask, str(masks / f"{case['case_id']}.nii.gz"))
    lines = [
        f"{case['case_id']},{endpoint},{0.1 + 0.8 * ((3 * place + shift) % 10) / 10:.3f}"
        for shift, endpoint in enumerate(ENDPOINTS)
        for place, case in enumerate(cases)
    ]
    (folder / "risks.csv").write_text("\n".join(["case_id,endpoint,probability", *lines]) + "\n")
    return folder / "risks.csv", masks


@pytest.fixture(scope="module")
def report(folder: Path, repository: Path, predictions: tuple[Path, Path]) -> Path:
    """One command: probabilities and masks, and the baselines of a run of the same repository beside."""
    cohort = ("cohort=repository", f"cohort.root={repository}", f"store_dir={folder / 'store'}")
    baselines = folder / "clinical"
    finished(run(*TRAIN, "experiment=clinical", *cohort, f"run_dir={baselines}"))
    given = f"predictions=[{predictions[0]},{predictions[1]}]"
    where = (f"runs={baselines}", f"report_dir={folder / 'report'}")
    return finished(run(*EVALUATE, given, *cohort, *where))


def test_probabilities_and_masks_have_one_report_with_the_baselines_beside(
    report: Path, cases: list[dict[str, str]]
) -> None:
    summary = json.loads((report.parent / "summary.json").read_text())
    for endpoint in ENDPOINTS:
        models = summary["outcome"][endpoint]
        assert {"risks", "clinical", "age_sex", "prevalence"} <= set(models)
        assert {figures["brier"]["n"] for figures in models.values()} == {len(cases)}
        assert {row["against"] for row in summary["comparisons"] if row["model"] == "risks"} >= {"clinical", "age_sex"}
    dice = summary["segmentation"]["lesion"]["dice"]
    assert dice["n"] + dice.get("left_out", 0) == sum(bool(case["ct"]) for case in cases)
    assert "table_1" in summary


def test_dice_is_that_of_simpleitk_for_nifti_and_segmentation(
    report: Path, repository: Path, cases: list[dict[str, str]]
) -> None:
    rows = pd.read_csv(report.parent / "cases.csv").set_index("case_id")
    for case in (case for case in cases if case["ct"]):
        files = series_files(Path(case["ct"]))
        uid = dcmread(files[0], stop_before_pixels=True).SeriesInstanceUID
        truth = reference(repository / "masks" / uid)
        overlap = SimpleITK.LabelOverlapMeasuresImageFilter()
        predicted = SimpleITK.Resample(opacity(files), truth, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor)
        overlap.Execute(truth, SimpleITK.Cast(predicted, SimpleITK.sitkUInt8))
        found = rows.loc[case["case_id"], "lesion_dice"]
        assert np.isnan(found) if empty(truth) else found == pytest.approx(overlap.GetDiceCoefficient(1), abs=1e-6)


def test_a_missing_a_doubled_and_an_unknown_case_are_refused_with_all_three_named(
    folder: Path, repository: Path, predictions: tuple[Path, Path], cases: list[dict[str, str]]
) -> None:
    header, *lines = predictions[0].read_text().splitlines()
    missing, doubled = (cases[place]["case_id"] for place in (0, 1))
    kept = [line for line in lines if not line.startswith(f"{missing},icu")]
    spoilt = [*kept, next(line for line in kept if line.startswith(f"{doubled},icu")), "stranger,icu,0.5"]
    (folder / "spoilt.csv").write_text("\n".join([header, *spoilt]))
    cohort = ("cohort=repository", f"cohort.root={repository}", f"report_dir={folder / 'none'}")
    message = refused(run(*EVALUATE, f"predictions={folder / 'spoilt.csv'}", *cohort))
    assert f"icu: 1 missing ({missing}), 1 twice or more ({doubled}), 1 not in the cohort (stranger)" in message
    assert not (folder / "none").exists()


def test_predictions_without_a_cohort_are_told_what_is_missing(predictions: tuple[Path, Path]) -> None:
    assert "cohort=NAME" in refused(run(*EVALUATE, f"predictions={predictions[0]}"))
