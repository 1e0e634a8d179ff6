"""Each public CT set is read by the layout in which it is published, here with made-up content."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from kicc_ml.cohort.public.covid_ct import covid19_20, covid19_ct_seg, medseg, mosmed
from kicc_ml.cohort.splits import leave_one_site_out
from kicc_ml.core.errors import UserError
from kicc_ml.data.fingerprint import fingerprint
from kicc_ml.data.masks import read_masks
from kicc_ml.dicom.series.image_files import write_nifti
from kicc_ml.dicom.volume.read import read_volume

real_data = pytest.mark.skipif("KICC_DATA" not in os.environ, reason="KICC_DATA names no folder of public data")

SHAPE = (6, 5, 4)
AFFINE = np.diag([-0.8, -0.8, 5.0, 1.0])
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


def lay(path: Path, value: float | np.ndarray = -700) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(path, np.broadcast_to(np.asarray(value, np.int16), SHAPE).copy(), AFFINE)
    return path


def labels(*values: int) -> np.ndarray:
    """The first planes along x hold these labels, the others 0."""
    array = np.zeros(SHAPE, np.int16)
    for x, value in enumerate(values):
        array[x] = value
    return array


def voxels(case) -> dict[str, int]:
    """How many voxels each region of a case has."""
    masks = read_masks(case, read_volume(case.ct))
    return {region: int(mask.sum()) for region, (mask, _) in sorted(masks.items())}


PLANE = SHAPE[1] * SHAPE[2]
CT_SEG = ("COVID-19-CT-Seg_20cases/{}.nii.gz", "Lung_Mask/{}.nii.gz", "Infection_Mask/{}.nii.gz")
KAGGLE = ("ct_scans/{}.nii", "lung_mask/{}.nii", "infection_mask/{}.nii")
#: Names of scans in the copy of Kaggle, whose masks keep the published names.
KAGGLE_NAMES = {
    "coronacases_001": "coronacases_org_001",
    "radiopaedia_10_85902_1": "radiopaedia_org_covid-19-pneumonia-10_85902_1-dcm",
    "radiopaedia_10_85902_3": "radiopaedia_org_covid-19-pneumonia-10_85902_3-dcm",
}


def lay_ct_seg(root: Path, layout: Sequence[str] = CT_SEG, renamed: bool = False) -> Path:
    scan, lung, infection = layout
    for name, in_kaggle in KAGGLE_NAMES.items():
        grey = -700 if name.startswith("coronacases") else 51
        lay(root / scan.format(in_kaggle if renamed else name), grey)
        lay(root / lung.format(name), labels(1, 1, 2))
        lay(root / infection.format(name), labels(0, 1))
        lay(root / lung.replace("ung_", "ung_and_infection_").format(name), labels(1, 3, 2))
    return root


@pytest.mark.parametrize(("layout", "renamed"), [(CT_SEG, False), (KAGGLE, True)])
def test_covid19_ct_seg_gives_lungs_and_lesions_of_two_sources(tmp_path: Path, layout, renamed: bool):
    cohort = covid19_ct_seg(lay_ct_seg(tmp_path, layout, renamed))
    assert [(case.case_id, case.site) for case in cohort] == [
        ("coronacases_001", "coronacases"),
        ("radiopaedia_10_85902_1", "radiopaedia"),
        ("radiopaedia_10_85902_3", "radiopaedia"),
    ]
    assert {tuple(voxels(case).items()) for case in cohort} == {
        (("left_lung", 2 * PLANE), ("lesion", PLANE), ("lung", 3 * PLANE), ("right_lung", PLANE))
    }


def test_two_scans_of_one_number_of_radiopaedia_are_of_one_person(tmp_path: Path):
    persons = [case.person for case in covid19_ct_seg(lay_ct_seg(tmp_path))]
    assert persons == ["coronacases_001", "radiopaedia_10", "radiopaedia_10"]


def test_grey_values_of_radiopaedia_become_hu_by_the_published_line(tmp_path: Path):
    hu = [np.unique(read_volume(case.ct).array) for case in covid19_ct_seg(lay_ct_seg(tmp_path))]
    assert [values.tolist() for values in hu] == [[-700], [-1250 + 1500 * 51 / 255], [-1250 + 1500 * 51 / 255]]
    assert all(case.ct.units == "hu" for case in covid19_ct_seg(tmp_path))


def test_the_plan_sees_hu_under_masks_of_differing_labels(tmp_path: Path):
    seen = fingerprint(covid19_ct_seg(lay_ct_seg(tmp_path)))
    assert (seen.cases, seen.lesion_voxels) == (3, PLANE)
    assert seen.foreground_hu == pytest.approx((-950, -950, -700), abs=1)


def test_a_scan_of_radiopaedia_beyond_8_bits_is_refused_by_name(tmp_path: Path):
    lay_ct_seg(tmp_path)
    path = lay(tmp_path / CT_SEG[0].format("radiopaedia_10_85902_1"), -700)
    (case,) = (case for case in covid19_ct_seg(tmp_path) if case.case_id == "radiopaedia_10_85902_1")
    with pytest.raises(UserError, match=f"{path.name}: holds values from -700 to -700.*download it again"):
        read_volume(case.ct)


def test_a_mask_with_a_label_that_is_not_published_is_refused(tmp_path: Path):
    lay_ct_seg(tmp_path)
    lay(tmp_path / CT_SEG[1].format("coronacases_001"), labels(1, 255))
    case = covid19_ct_seg(tmp_path)[0]
    with pytest.raises(UserError, match=r"coronacases_001.nii.gz holds 3 values \(0, 1, 255\)"):
        voxels(case)


def test_a_scan_that_lacks_a_mask_is_left_out_and_a_mask_without_scan_is_named(tmp_path: Path, caplog):
    lay_ct_seg(tmp_path)
    (tmp_path / CT_SEG[2].format("coronacases_001")).unlink()
    (tmp_path / CT_SEG[0].format("radiopaedia_10_85902_3")).unlink()
    cohort = covid19_ct_seg(tmp_path)
    assert [case.case_id for case in cohort] == ["radiopaedia_10_85902_1"]
    assert (cohort.flow.rows, cohort.flow.cases, cohort.flow.excluded) == (2, 1, {"no mask": 1})
    assert "1 mask without a scan of that name, for example radiopaedia_10_85902_3" in caplog.text


def test_files_of_other_sets_hidden_files_and_those_of_macos_are_no_scans(tmp_path: Path):
    lay_ct_seg(tmp_path)
    lay(tmp_path / "covid_seg_u8" / "coronacases_00_ct.nii.gz")
    lay(tmp_path / "__MACOSX" / "COVID-19-CT-Seg_20cases" / "coronacases_001.nii.gz")
    (tmp_path / "COVID-19-CT-Seg_20cases" / "._coronacases_001.nii.gz").write_bytes(b"\0")
    assert len(covid19_ct_seg(tmp_path)) == 3


def test_a_second_copy_of_a_scan_is_refused(tmp_path: Path):
    lay_ct_seg(tmp_path)
    lay(tmp_path / "copy" / "coronacases_001.nii.gz")
    with pytest.raises(UserError, match="are one file of the set"):
        covid19_ct_seg(tmp_path)


@pytest.mark.parametrize("read", [covid19_ct_seg, covid19_20, mosmed, medseg])
def test_a_folder_without_the_set_says_what_should_lie_there(tmp_path: Path, read):
    lay(tmp_path / "other.nii.gz")
    with pytest.raises(UserError, match=f"{tmp_path} holds no scan with a mask; it should hold "):
        read(tmp_path)
    for root in (None, tmp_path / "nothing"):
        with pytest.raises(UserError, match=r"say where \w+ lies: cohort.root=DIR"):
            read(root)


def lay_challenge(root: Path, train: str = "COVID-19-20_v2/Train", suffix: str = ".nii.gz") -> Path:
    for number in ("0003", "0011"):
        lay(root / train / f"volume-covid19-A-{number}_ct{suffix}")
        lay(root / train / f"volume-covid19-A-{number}_seg{suffix}", labels(1, 1))
    lay(root / train.replace("Train", "Validation") / f"volume-covid19-A-0654_ct{suffix}")
    return root


@pytest.mark.parametrize(
    ("train", "suffix"), [("COVID-19-20_v2/Train", ".nii.gz"), ("Train", ".nii"), ("covid/train set", ".nii.gz")]
)
def test_covid19_20_takes_scans_with_masks_and_counts_those_without(tmp_path: Path, train: str, suffix: str):
    cohort = covid19_20(lay_challenge(tmp_path, train, suffix))
    assert [(case.case_id, case.site) for case in cohort] == [
        ("volume-covid19-A-0003", "covid19_20"),
        ("volume-covid19-A-0011", "covid19_20"),
    ]
    assert [voxels(case) for case in cohort] == [{"lesion": 2 * PLANE}] * 2
    assert (cohort.flow.rows, cohort.flow.excluded) == (3, {"no mask": 1})


def lay_mosmed(root: Path, studies: str = "COVID19_1110/studies", masks: str = "COVID19_1110/masks") -> Path:
    lay(root / studies / "CT-0" / "study_0001.nii.gz")
    for number in ("0255", "0256"):
        lay(root / studies / "CT-1" / f"study_{number}.nii.gz")
        lay(root / masks / f"study_{number}_mask.nii.gz", labels(1))
    (root / "dataset_registry.csv").write_text("\ufeffstudy_id,category,study_file,mask_file\n", encoding="utf-8")
    return root


@pytest.mark.parametrize("studies", ["COVID19_1110/studies", "."])
def test_mosmed_takes_the_studies_that_have_a_mask(tmp_path: Path, studies: str):
    cohort = mosmed(lay_mosmed(tmp_path, studies))
    assert [(case.case_id, case.site) for case in cohort] == [("study_0255", "mosmed"), ("study_0256", "mosmed")]
    assert [voxels(case) for case in cohort] == [{"lesion": PLANE}] * 2
    assert (cohort.flow.rows, cohort.flow.excluded) == (3, {"no mask": 1})


def test_pointers_of_git_lfs_are_named_as_such(tmp_path: Path, caplog):
    root = lay_mosmed(tmp_path)
    (root / "COVID19_1110/studies/CT-1/study_0255.nii.gz").write_text(POINTER)
    assert [case.case_id for case in mosmed(root)] == ["study_0256"]
    assert "1 scan left out: Git LFS has left pointers" in caplog.text
    (root / "COVID19_1110/masks/study_0256_mask.nii.gz").write_text(POINTER)
    with pytest.raises(UserError, match="a Git LFS pointer in the place of scan or mask: 2"):
        mosmed(root)


@real_data
def test_the_real_masks_of_mosmed_lie_there_without_their_scans(caplog):
    with pytest.raises(UserError, match="holds no scan with a mask"):
        mosmed(Path(os.environ["KICC_DATA"]) / "mosmed")
    assert "6 masks without a scan of that name, for example study_0255" in caplog.text


def lay_medseg(root: Path, suffix: str = ".nii.gz") -> Path:
    for number in (1, 9):
        lay(root / "rp_im" / f"{number}{suffix}")
        lay(root / "rp_msk" / f"{number}{suffix}", labels(1, 2, 2, 3))
        lay(root / "rp_lung_msk" / f"{number}{suffix}", labels(1, 1, 1, 1, 1))
    return root


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_medseg_gives_ground_glass_and_consolidation_but_no_effusion(tmp_path: Path, suffix: str):
    cohort = medseg(lay_medseg(tmp_path / "unpacked", suffix).parent)
    assert [(case.case_id, case.site) for case in cohort] == [("medseg_1", "radiopaedia"), ("medseg_9", "radiopaedia")]
    assert [voxels(case) for case in cohort] == [
        {"consolidation": 2 * PLANE, "lesion": 3 * PLANE, "lung": 5 * PLANE}
    ] * 2


def test_lungs_of_medseg_with_a_value_each_are_lung(tmp_path: Path):
    lay_medseg(tmp_path)
    lay(tmp_path / "rp_lung_msk" / "1.nii.gz", labels(1, 2))
    assert voxels(medseg(tmp_path)[0])["lung"] == 2 * PLANE


@pytest.mark.parametrize(
    ("lay_set", "read", "cases"),
    [(lay_challenge, covid19_20, 2), (lay_mosmed, mosmed, 2), (lay_medseg, medseg, 2)],
)
def test_a_set_without_hospitals_says_so_and_is_split_by_patient(tmp_path: Path, lay_set, read, cases: int):
    cohort = read(lay_set(tmp_path))
    assert cohort.flow.counts == {"cases whose hospital is not published: their source is the site": cases}
    with pytest.raises(UserError, match="split=patient_kfold"):
        leave_one_site_out(cohort)
