"""Masks as annotators and converters write them: used as drawn, or refused by name; never a lesion by guess."""

import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from kicc_ml.cohort.doctor.report import examine
from kicc_ml.cohort.mask_folders import check_labels
from kicc_ml.cohort.repository import repository
from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case
from kicc_ml.data.canonical import CanonicalCT
from kicc_ml.data.mask_file import find_marked_voxels, read_flat_mask
from kicc_ml.data.masks import reference_masks
from kicc_ml.data.store import VolumeStore
from kicc_ml.dicom.volume.read import read_volume
from tests.support.consortium import lines_of, write_patient, write_table

pytestmark = pytest.mark.usefixtures("cache_in_a_temporary_folder")
CANONICAL = CanonicalCT(spacing_mm=(2.0, 2.0, 3.0))


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    write_table(tmp_path, lines_of(["P1"]))
    return tmp_path


@pytest.fixture
def folder(hospital: Path) -> Path:
    """Where the masks of the one CT belong."""
    folder = hospital / "masks" / write_patient(hospital, "P1").SeriesInstanceUID
    folder.mkdir(parents=True)
    return folder


def case_of(hospital: Path, **settings: object) -> Case:
    (case,) = repository(hospital, **settings)  # type: ignore[arg-type]
    return case


def drawn(hospital: Path) -> tuple[np.ndarray, np.ndarray]:
    """A lesion as drawn, and the affine of its CT."""
    volume = read_volume(case_of(hospital).ct)  # type: ignore[arg-type]
    truth_xyz = np.zeros(volume.array.shape, bool)
    truth_xyz[2:7, 3:9, 1:4] = True
    truth_xyz[8, 2, 4] = True
    return truth_xyz, volume.affine_ras


def reoriented(truth_xyz: np.ndarray, affine_ras: np.ndarray, codes: str) -> nib.Nifti1Image:
    image = nib.Nifti1Image(truth_xyz.astype(np.uint8), affine_ras)
    to = nib.orientations.axcodes2ornt(codes)
    return image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(affine_ras), to))


SOUND = {
    "plain": lambda m, a: nib.Nifti1Image(m.astype(np.uint8), a),
    "255 inside": lambda m, a: nib.Nifti1Image((m * 255).astype(np.uint8), a),
    "rounding of floats": lambda m, a: nib.Nifti1Image((m * 1.0000001).astype(np.float64), a),
    "rounding of zero": lambda m, a: nib.Nifti1Image(np.where(m, 1, 1e-9).astype(np.float64), a),
    "scaled to a half": lambda m, a: nib.Nifti1Image((m * 0.5).astype(np.float32), a),
    "NaN outside": lambda m, a: nib.Nifti1Image(np.where(m, 1, np.nan).astype(np.float32), a),
    "a fourth axis of one": lambda m, a: nib.Nifti1Image(m.astype(np.uint8)[..., None], a),
    "rounding of directions": lambda m, a: nib.Nifti1Image(m.astype(np.uint8), a + 2e-8),
    "flipped": lambda m, a: reoriented(m, a, "RAS"),
    "axes exchanged": lambda m, a: reoriented(m, a, "SPL"),
}
REFUSED = {
    "interpolated": lambda m, a: nib.Nifti1Image((m * 0.7 + np.roll(m, 1, 0) * 0.3).astype(np.float32), a),
    "the CT itself": lambda m, a: nib.Nifti1Image((m * 40 - 800).astype(np.int16), a),
    "several organs": lambda m, a: nib.Nifti1Image((m * 3 + np.roll(m, 4, 0)).astype(np.uint8), a),
    "all voxels": lambda m, a: nib.Nifti1Image(np.ones(m.shape, np.uint8), a),
    "beside the CT": lambda m, a: nib.Nifti1Image(m.astype(np.uint8), a + np.eye(4, k=3) * 30),
}


@pytest.mark.parametrize("kind", SOUND)
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_a_mask_that_says_which_voxels_it_marks_is_used_as_drawn(hospital: Path, folder: Path, kind: str, suffix: str):
    truth_xyz, affine_ras = drawn(hospital)
    nib.save(SOUND[kind](truth_xyz, affine_ras), folder / f"lesion{suffix}")
    case = case_of(hospital)
    volume = read_volume(case.ct)  # type: ignore[arg-type]
    np.testing.assert_array_equal(reference_masks(case, volume)["lesion"], truth_xyz)


@pytest.mark.parametrize("kind", REFUSED)
def test_any_other_file_is_refused_in_training_evaluation_and_doctor_alike(hospital: Path, folder: Path, kind: str):
    truth_xyz, affine_ras = drawn(hospital)
    nib.save(REFUSED[kind](truth_xyz, affine_ras), folder / "lesion.nii.gz")
    case = case_of(hospital)
    assert list(VolumeStore(hospital / "store").prepare([case], CANONICAL)) == [case.case_id]
    volume = read_volume(case.ct)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="mask"):
        reference_masks(case, volume)
    (finding,) = [one for one in examine(str(hospital)).findings if one.code == "bad_mask"]
    assert finding.severity == "must mend"
    assert folder.name not in str(finding)


def test_labels_that_are_stated_mark_their_region_and_the_whole_it_is_part_of(hospital: Path, folder: Path):
    truth_xyz, affine_ras = drawn(hospital)
    values = truth_xyz.astype(np.uint8)
    values[5:7][truth_xyz[5:7]] = 2
    nib.save(nib.Nifti1Image(values, affine_ras), folder / "lesion.nii.gz")
    case = case_of(hospital, mask_labels={1: "lesion", 2: "consolidation"})
    masks = reference_masks(case, read_volume(case.ct))  # type: ignore[arg-type]
    np.testing.assert_array_equal(masks["lesion"], truth_xyz)
    np.testing.assert_array_equal(masks["consolidation"], values == 2)


def test_one_file_of_labels_holds_every_stated_region(hospital: Path, folder: Path):
    truth_xyz, affine_ras = drawn(hospital)
    values = np.where(truth_xyz, 7, 4).astype(np.uint8)
    values[0] = 0
    nib.save(nib.Nifti1Image(values, affine_ras), folder / "labels.nii.gz")
    case = case_of(hospital, mask_labels={7: "ground_glass", 4: "consolidation"})
    masks = reference_masks(case, read_volume(case.ct))  # type: ignore[arg-type]
    np.testing.assert_array_equal(masks["lesion"], values > 0)
    np.testing.assert_array_equal(masks["consolidation"], values == 4)


def test_a_label_that_nobody_explained_is_refused_by_its_value(hospital: Path, folder: Path):
    truth_xyz, affine_ras = drawn(hospital)
    nib.save(nib.Nifti1Image(truth_xyz.astype(np.uint8) * 5, affine_ras), folder / "labels.nii.gz")
    case = case_of(hospital, mask_labels={1: "lesion"})
    with pytest.raises(UserError, match=r"2 values \(0, 5\), of which masks.labels explains 1 only"):
        reference_masks(case, read_volume(case.ct))  # type: ignore[arg-type]


@pytest.mark.parametrize("labels", [{0: "lesion"}, {1: "liver"}, {"1": "lesion"}, {-1: "lung"}])
def test_a_map_of_labels_that_makes_no_sense_is_refused(labels: dict):
    with pytest.raises(UserError, match=r"masks\.labels: .*give whole numbers from 1 up"):
        check_labels(labels)


def test_the_same_file_under_another_map_is_another_stored_volume(hospital: Path, folder: Path):
    truth_xyz, affine_ras = drawn(hospital)
    nib.save(nib.Nifti1Image(truth_xyz.astype(np.uint8) * 2, affine_ras), folder / "labels.nii.gz")
    store = VolumeStore(hospital / "store")
    known = []
    for labels in ({2: "lesion"}, {2: "consolidation"}):
        case = case_of(hospital, mask_labels=labels)
        store.prepare([case], CANONICAL)
        known.append(store.load([case], CANONICAL)[case.case_id].mask_known_c.tolist())
    assert known[0] != known[1]


def test_a_mask_of_a_radiograph_follows_the_same_rule(tmp_path: Path):
    from PIL import Image

    soft_yx = np.linspace(0, 255, 100).reshape(10, 10).astype(np.uint8)
    Image.fromarray(soft_yx).save(tmp_path / "lung.png")
    with pytest.raises(UserError, match=r"the mask lung\.png holds 100 values"):
        read_flat_mask(tmp_path / "lung.png", "lung")
    Image.fromarray((soft_yx > 99).astype(np.uint8) * 255).save(tmp_path / "lung.png")
    np.testing.assert_array_equal(read_flat_mask(tmp_path / "lung.png", "lung"), (soft_yx > 99).T)


def test_a_mask_without_a_lesion_is_a_mask():
    assert not find_marked_voxels(np.zeros((3, 3, 3), np.uint8), Path("lesion.nii.gz")).any()


@pytest.mark.parametrize(
    ("place", "file", "told"),
    [
        ("1.2.3", "lesion.nii.gz", "folders of masks that belong to no series"),
        ("P1", "lesion.nii.gz", "folders of masks named after a patient"),
        ("study", "lesion.nii.gz", "folders of masks named after a study"),
        ("series", "Lesion.nii.gz", "files whose name is no region"),
        ("series", "lesion_mask.nii.gz", "files whose name is no region"),
        ("series", "lesion.nrrd", "files whose name is no region"),
    ],
)
def test_masks_that_find_no_partner_are_named_in_log_and_doctor(
    hospital: Path, caplog: pytest.LogCaptureFixture, place: str, file: str, told: str
):
    header = write_patient(hospital, "P1")
    names = {"study": header.StudyInstanceUID, "series": header.SeriesInstanceUID}
    folder = hospital / "masks" / names.get(place, place)
    folder.mkdir(parents=True)
    (folder / file).write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        repository(hospital)
    assert told in caplog.text
    assert "SeriesInstanceUID" in caplog.text
    (finding,) = [one for one in examine(str(hospital)).findings if one.code == "mask_unused"]
    assert told in finding.sentence
    assert folder.name not in str(finding) + caplog.text.replace(str(hospital), "")
