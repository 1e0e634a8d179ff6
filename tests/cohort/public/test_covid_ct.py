"""Each public CT set is read by the layout in which it is published, here with made-up content."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from kicc_ml.cohort.public.covid_ct import covid19_ct_seg
from kicc_ml.core.errors import UserError
from kicc_ml.data.fingerprint import fingerprint
from kicc_ml.data.store import read_masks
from kicc_ml.dicom.series.image_files import write_nifti
from kicc_ml.dicom.volume.read import read_volume

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


@pytest.mark.parametrize("read", [covid19_ct_seg])
def test_a_folder_without_the_set_says_what_should_lie_there(tmp_path: Path, read):
    lay(tmp_path / "other.nii.gz")
    with pytest.raises(UserError, match=f"{tmp_path} holds no scan with a mask; it should hold "):
        read(tmp_path)
    for root in (None, tmp_path / "nothing"):
        with pytest.raises(UserError, match=r"say where \w+ lies: cohort.root=DIR"):
            read(root)
