"""Training folders of nnU-Net and MSD, with made-up content; and the nine public CTs laid out so."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kicc_ml.apps.configuration import compose_configuration
from kicc_ml.cohort.nifti_datasets import msd, nnunet
from kicc_ml.cohort.public.images import covid_ct_seg
from kicc_ml.cohort.splits import leave_one_site_out
from kicc_ml.core.errors import UserError
from kicc_ml.data.masks import read_masks
from kicc_ml.dicom.series.image_files import write_nifti
from kicc_ml.dicom.volume.read import read_volume
from tests.support.nnunet_layout import lay_as_nnunet

real_data = pytest.mark.skipif("KICC_DATA" not in os.environ, reason="KICC_DATA names no folder of public data")

SHAPE = (6, 5, 4)
PLANE = SHAPE[1] * SHAPE[2]
AFFINE = np.diag([-0.8, -0.8, 5.0, 1.0])
#: Planes of each label in the files written here: 1 once, 2 twice, 3 once.
LABELS = np.zeros(SHAPE, np.int16)
LABELS[0], LABELS[1:3], LABELS[3] = 1, 2, 3

CASES = ("daegu_001", "daegu_002", "seoul_001")
VERSION_2 = {"channel_names": {"0": "CT"}, "file_ending": ".nii.gz", "numTraining": 3}
VERSION_1 = {"modality": {"0": "CT"}, "numTraining": 3, "tensorImageSize": "4D"}


def lay(path: Path, content: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(path, content, AFFINE)
    return path


def lay_dataset(root: Path, facts: Mapping[str, Any], image: str = "{}_0000.nii.gz", cases=CASES) -> Path:
    for case in cases:
        lay(root / "imagesTr" / image.format(case), np.full(SHAPE, -800, np.int16))
        lay(root / "labelsTr" / f"{case}.nii.gz", LABELS)
    (root / "dataset.json").write_text(json.dumps(facts), encoding="utf-8")
    return root


def voxels(case) -> dict[str, int]:
    """How many planes each region of a case has."""
    masks = read_masks(case, read_volume(case.ct))
    return {region: int(mask.sum()) // PLANE for region, (mask, _) in sorted(masks.items())}


@pytest.mark.parametrize(
    ("labels", "planes"),
    [
        ({"background": 0, "lung": 1, "infection": 2, "heart": 3}, {"lesion": 2, "lung": 3}),
        ({"0": "background", "1": "lung", "2": "infection", "3": "heart"}, {"lesion": 2, "lung": 3}),
        ({"background": 0, "lung": [1, 2], "lesion": [2, 3], "consolidation": 3},
         {"consolidation": 1, "lesion": 3, "lung": 3}),
        ({"background": 0, "GGO": 1, "Consolidation": 2, "effusion": 3}, {"consolidation": 2, "lesion": 3}),
        ({"background": 0, "Left-Lung": 1, "lung_right": 2, "COVID-19 infection": 3},
         {"left_lung": 1, "lesion": 1, "lung": 3, "right_lung": 2}),
    ],
)  # fmt: skip
def test_labels_become_regions_by_their_names(tmp_path: Path, labels: dict, planes: dict[str, int]):
    root = lay_dataset(tmp_path / "Dataset501_Covid", VERSION_2 | {"labels": labels})
    assert [voxels(case) for case in nnunet(root)] == [planes] * 3


def test_the_folder_above_a_single_data_set_will_do(tmp_path: Path):
    lay_dataset(tmp_path / "Dataset501_Covid", VERSION_2 | {"labels": {"lesion": 2, "lung": 1, "x": 3}})
    assert [(case.case_id, case.site) for case in nnunet(tmp_path)] == [(case, "Dataset501_Covid") for case in CASES]
    lay_dataset(tmp_path / "Dataset502_Other", VERSION_2 | {"labels": {"lesion": 1}})
    with pytest.raises(UserError, match="there are Dataset501_Covid, Dataset502_Other; name the folder of one"):
        nnunet(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "sites"),
    [
        ("{site}_*", ["daegu", "daegu", "seoul"]),
        ("{site}", list(CASES)),
        ("*_{site}", ["001", "002", "001"]),
        ("d{site}_00?", None),
        ("{site}_0*", ["daegu", "daegu", "seoul"]),
    ],
)
def test_hospitals_come_from_a_pattern_of_case_ids(tmp_path: Path, pattern: str, sites: list[str] | None):
    root = lay_dataset(tmp_path, VERSION_2 | {"labels": {"lesion": 2, "lung": 1, "x": 3}})
    if sites is None:
        with pytest.raises(UserError, match="does not fit 3 cases, for example daegu_001"):
            nnunet(root, site_pattern=pattern)
    else:
        assert [case.site for case in nnunet(root, site_pattern=pattern)] == sites


def test_a_pattern_is_typed_as_it_is():
    cfg = compose_configuration(
        "train", ["experiment=lesion_ct", "cohort=nnunet", "cohort.root=d", "cohort.site_pattern={site}_*"]
    )
    assert cfg.cohort.site_pattern == "{site}_*"


@pytest.mark.parametrize("pattern", ["", "*", "{site}{site}", "{site}****", "(a+)+$"])
def test_a_pattern_without_one_hospital_is_refused(tmp_path: Path, pattern: str):
    root = lay_dataset(tmp_path, VERSION_2 | {"labels": {"lesion": 2, "lung": 1, "x": 3}})
    with pytest.raises(UserError, match=r"write \{site\} once"):
        nnunet(root, site_pattern=pattern)


def test_hospitals_and_persons_come_from_a_table_which_comes_before_a_pattern(tmp_path: Path):
    root = lay_dataset(tmp_path, VERSION_2 | {"labels": {"lesion": 2, "lung": 1, "x": 3}})
    (root / "sites.csv").write_text("case_id,site,person_id\ndaegu_001,a,p1\ndaegu_002,a,\nseoul_001,b,p1\n")
    cohort = nnunet(root, site_pattern="{site}_*")
    assert [(case.site, case.person) for case in cohort] == [("a", "p1"), ("a", "daegu_002"), ("b", "p1")]
    assert "hospital is not published" not in " ".join(cohort.flow.counts)
    (root / "sites.csv").write_text("case_id,site\ndaegu_001,a\ndaegu_002,\n")
    with pytest.raises(UserError, match=r"sites.csv has no hospital of 2 cases, for example daegu_002"):
        nnunet(root)
    (root / "sites.csv").write_text("case,site\ndaegu_001,a\n")
    with pytest.raises(UserError, match=r"sites.csv: column\(s\) missing: case_id"):
        nnunet(root)


def test_stated_labels_come_before_names(tmp_path: Path):
    root = lay_dataset(tmp_path, VERSION_2 | {"labels": {"tumour": 1, "x": 2, "y": 3}})
    with pytest.raises(UserError, match=r"none of the labels tumour, x, y is a region .*masks.labels=\{1: lesion\}"):
        nnunet(root)
    stated = {1: "ground_glass", 2: "lung", 3: "consolidation"}
    assert voxels(nnunet(root, mask_labels=stated)[0]) == {"consolidation": 1, "lesion": 2, "lung": 2}
    with pytest.raises(UserError, match=r"masks\.labels"):
        nnunet(root, mask_labels={1: "tumour"})


def test_of_several_channels_ct_is_read_and_a_scan_of_another_kind_has_no_units(tmp_path: Path):
    labels = {"labels": {"lesion": 2, "lung": 1, "x": 3}}
    root = lay_dataset(
        tmp_path / "two", {**VERSION_2, **labels, "channel_names": {"0": "PET", "1": "CT"}}, "{}_0001.nii.gz"
    )
    lay(root / "imagesTr" / "daegu_001_0000.nii.gz", np.zeros(SHAPE, np.int16))
    assert [(case.case_id, case.ct.units, case.ct.files[0].name[-11:-7]) for case in nnunet(root)] == [
        (case, "hu", "0001") for case in CASES
    ]
    root = lay_dataset(tmp_path / "grey", {**VERSION_2, **labels, "channel_names": {"0": "zscore"}})
    assert {case.ct.units for case in nnunet(root)} == {"arbitrary"}
    root = lay_dataset(tmp_path / "none", {**VERSION_2, **labels, "channel_names": {"0": "T1", "1": "T2"}})
    with pytest.raises(UserError, match="channels t1, t2; one is read"):
        nnunet(root)


def test_cases_that_the_file_lists_are_read_from_where_it_says(tmp_path: Path):
    root = lay_dataset(tmp_path, VERSION_2, cases=())
    lay(root / "elsewhere" / "scan.nii.gz", np.full(SHAPE, -800, np.int16))
    lay(root / "elsewhere" / "mask.nii.gz", LABELS)
    listed = {"busan_7": {"images": ["elsewhere/scan.nii.gz"], "label": "./elsewhere/mask.nii.gz"}}
    facts = VERSION_2 | {"labels": {"lesion": 2, "lung": 1, "x": 3}, "dataset": listed}
    (root / "dataset.json").write_text(json.dumps(facts))
    (case,) = nnunet(root)
    assert (case.case_id, voxels(case)) == ("busan_7", {"lesion": 2, "lung": 3})


@pytest.mark.parametrize("path", ["/etc/hostname", "../other/scan.nii.gz", "imagesTr/../../x.nii.gz", "", None, 7])
def test_a_list_that_leads_elsewhere_is_refused(tmp_path: Path, path: Any):
    facts = VERSION_1 | {"labels": {"1": "lesion"}, "training": [{"image": path, "label": "labelsTr/a.nii.gz"}]}
    root = lay_dataset(tmp_path, facts)
    with pytest.raises(UserError, match=r"is no file below|holds no scan"):
        msd(root)


def test_msd_reads_the_pairs_that_its_file_lists(tmp_path: Path, caplog):
    pairs = [
        {"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"} for case in (*CASES, "gone_1")
    ]
    labels = {"0": "background", "1": "lung", "2": "infection", "3": "heart"}
    root = lay_dataset(tmp_path, VERSION_1 | {"labels": labels, "training": pairs}, "{}.nii.gz")
    cohort = msd(root, site_pattern="{site}_*")
    assert [(case.case_id, case.site) for case in cohort] == [(case, case[:5]) for case in CASES]
    assert voxels(cohort[0]) == {"lesion": 2, "lung": 3}
    assert (cohort.flow.rows, cohort.flow.excluded) == (4, {"the scan is not there": 1})
    assert "1 scan not there" in caplog.text
    assert "labels that are no region are left out: heart" in caplog.text


def test_a_folder_of_nnunet_read_as_msd_is_told_so(tmp_path: Path):
    root = lay_dataset(tmp_path, VERSION_2 | {"labels": {"lesion": 2}})
    with pytest.raises(UserError, match="say cohort=nnunet"):
        msd(root)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ([], "holds no names and values"),
        ({"labels": {"lesion": "one"}}, "holds no scan|whole numbers"),
        ({"labels": {"lesion": [1, 2.5]}}, "whole numbers"),
        ({"labels": {"lesion": 1}, "file_ending": ".png"}, "file_ending is .png"),
        ({"labels": {"lesion": 1}, "file_ending": "/../../x.nii.gz"}, "images have to be NIfTI"),
        ({"labels": {"lesion": 1}, "dataset": ["a"]}, "dataset is no mapping"),
        ({"labels": {"lesion": 1}, "dataset": {"a": {"images": []}}}, "no image of channel 0"),
        ({"labels": None}, "none of the labels"),
    ],
)
def test_a_bad_description_is_one_sentence_that_names_the_file(tmp_path: Path, facts: Any, message: str):
    root = lay_dataset(tmp_path, facts, cases=())
    with pytest.raises(UserError, match=message) as caught:
        nnunet(root)
    assert "dataset.json" in str(caught.value)


def test_a_case_of_which_image_or_label_lacks_is_named_and_counted(tmp_path: Path, caplog):
    root = lay_dataset(tmp_path, VERSION_2 | {"labels": {"lesion": 1}})
    (root / "imagesTr" / "daegu_002_0000.nii.gz").unlink()
    (root / "labelsTr" / "seoul_001.nii.gz").unlink()
    cohort = nnunet(root)
    assert [case.case_id for case in cohort] == ["daegu_001"]
    assert cohort.flow.excluded == {"the scan is not there": 1, "no mask": 1}
    for name in ("daegu_002_0000.nii.gz", "seoul_001.nii.gz"):
        assert name in caplog.text


@real_data
def test_the_nine_public_cts_as_nnunet_lays_them_out_give_the_same_split_and_masks(tmp_path: Path):
    own = covid_ct_seg(os.environ["KICC_DATA"])
    laid = nnunet(lay_as_nnunet(own, tmp_path / "Dataset501_Covid"), site_pattern="{site}_*", spacing_known=False)
    assert leave_one_site_out(laid, seed=3) == leave_one_site_out(own, seed=3)
    for case, other in zip(own, laid, strict=True):
        one, again = (read_volume(of.ct) for of in (case, other))
        assert np.array_equal(one.array, again.array)
        assert (one.units, one.spacing_known) == (again.units, again.spacing_known)
        mine, theirs = read_masks(case, one), read_masks(other, again)
        assert mine.keys() == theirs.keys()
        assert all(np.array_equal(mine[region][0], theirs[region][0]) for region in mine)
