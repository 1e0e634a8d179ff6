"""Public image data sets become cases by their own layout, and what does not fit is named."""

import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kicc_ml.cohort.public.images import SCORE_COLUMNS, covid_ct_seg, covid_cxr, covid_cxr_masks, covid_cxr_severity
from kicc_ml.cohort.public.radiograph_table import CXR_COLUMNS, parse_age_years
from kicc_ml.core.errors import UserError
from kicc_ml.dicom.series.image_files import write_nifti

real_data = pytest.mark.skipif("KICC_DATA" not in os.environ, reason="KICC_DATA names no folder of public data")

FRONTAL = {"covid": "1", "is_frontal": "1", "modality": "X-ray", "view": "AP Supine", "site": "Italy"}


def lay_cxr(root: Path, rows: list[dict]) -> Path:
    images = root / "cxr" / "images"
    images.mkdir(parents=True)
    table = pd.DataFrame([FRONTAL | row for row in rows]).reindex(
        columns=sorted({*CXR_COLUMNS, *SCORE_COLUMNS, "finding"})
    )
    table.to_csv(root / "cxr" / "metadata.csv", index=False)
    for name in table["image_id"]:
        Image.new("L", (8, 6)).save(images / f"{name}.jpg")
    return root


def ids(cases) -> list[str]:
    return [case.case_id for case in cases]


def test_a_person_is_one_case_with_the_earliest_image(tmp_path):
    root = lay_cxr(
        tmp_path,
        [
            {"image_id": "late", "person_group": "G1", "offset_days": "10", "death": "0"},
            {"image_id": "early", "person_group": "G1", "offset_days": "9", "age": "50+", "sex": "M"},
            {"image_id": "undated", "person_group": "G1", "offset_days": "?"},
        ],
    )
    (case,) = covid_cxr(root)
    assert (case.case_id, case.person, case.site) == ("early", "G1", "Italy")
    assert dict(case.clinical) == {"age_years": 50.0, "sex": 1.0}
    assert case.endpoints["death"] == 0
    assert math.isnan(case.endpoints["icu"])
    assert case.cxr is not None
    assert (case.cxr.projection, case.cxr.rows, case.cxr.columns) == ("AP", 6, 8)


@pytest.mark.parametrize("image_id", ["../images/../../cxr/images/a", "", "..", ".a", "a/b", "a\nb", "x" * 200])
@pytest.mark.parametrize("load", [covid_cxr, covid_cxr_severity, covid_cxr_masks])
def test_an_image_whose_id_is_no_name_is_left_out_and_counted(tmp_path, caplog, load, image_id: str):
    known = {"death": "0", "geographic_extent": "0", "finding": "No Finding"}
    root = lay_cxr(tmp_path, [{"image_id": "good", "person_group": "G1"} | known])
    table = pd.read_csv(root / "cxr" / "metadata.csv", dtype=str)
    bad = table.assign(image_id=image_id, person_group="G2")
    pd.concat([table, bad]).to_csv(root / "cxr" / "metadata.csv", index=False)
    cases = load(root)
    assert ids(cases) == ["good"]
    assert cases.flow.excluded["no usable id"] == 1
    assert cases.flow.rows - sum(cases.flow.excluded.values()) == cases.flow.cases == 1
    assert "whose id cannot be the name of a folder" in caplog.text


def test_an_id_is_no_pattern_for_masks_of_other_images(tmp_path):
    root = lay_cxr(tmp_path, [{"image_id": name, "person_group": name, "finding": "COVID"} for name in ("a", "[a]")])
    (root / "cxr" / "finding_masks").mkdir()
    Image.new("L", (8, 6)).save(root / "cxr" / "finding_masks" / "a__ggo.png")
    assert ids(covid_cxr_masks(root)) == ["a"]


def test_images_of_or_after_intensive_care_are_not_used(tmp_path):
    icu = {"went_icu": "1"}
    root = lay_cxr(
        tmp_path,
        [
            {"image_id": "a_in", "person_group": "G1", "offset_days": "1", "in_icu_at_image": "1"} | icu,
            {"image_id": "b_after", "person_group": "G1", "offset_days": "2", "icu_admission_offset": "-3"} | icu,
            {"image_id": "c_same_day", "person_group": "G1", "offset_days": "3", "icu_admission_offset": "0"} | icu,
            {"image_id": "d", "person_group": "G2", "in_icu_at_image": "1"} | icu,
            {"image_id": "e", "person_group": "G3", "death_offset": "-1", "death": "1"},
        ],
    )
    assert ids(covid_cxr(root)) == ["c_same_day"]


def test_laterals_other_diseases_and_unknown_outcomes_are_left_out(tmp_path):
    rows = [
        {"image_id": "a", "person_group": "G1", "death": "0", "is_frontal": "0"},
        {"image_id": "b", "person_group": "G2", "death": "0", "covid": "0"},
        {"image_id": "c", "person_group": "G3", "intubated": "1"},
        {"image_id": "d", "person_group": "G4", "death": "0", "modality": "CT"},
        {"image_id": "e", "person_group": "G5", "went_icu": "0"},
    ]
    assert ids(covid_cxr(lay_cxr(tmp_path, rows))) == ["e"]


def test_near_duplicates_of_two_persons_are_one_person(tmp_path):
    rows = [
        {
            "image_id": "a",
            "person_group": "G1",
            "death": "0",
            "offset_days": "1",
            "near_duplicate_group": "dup",
        },
        {
            "image_id": "b",
            "person_group": "G2",
            "death": "1",
            "offset_days": "0",
            "near_duplicate_group": "dup",
        },
    ]
    (case,) = covid_cxr(lay_cxr(tmp_path, rows))
    assert (case.case_id, case.person, case.endpoints["death"]) == ("b", "G1", 1)


def test_a_person_in_two_countries_is_dropped_from_the_later_or_refused(tmp_path):
    rows = [
        {"image_id": "a", "person_group": "G1", "death": "0", "offset_days": "5", "site": "Spain"},
        {"image_id": "b", "person_group": "G1", "death": "0", "offset_days": "2", "site": "Italy"},
    ]
    root = lay_cxr(tmp_path, rows)
    assert ids(covid_cxr(root)) == ["b"]
    with pytest.raises(UserError, match="b, a"):
        covid_cxr(root, person_conflict="refuse")


@pytest.mark.parametrize(
    ("stated", "years"), [("74.0", 74), ("50+", 50), ("early 40s", 42), ("mid 50s", 55), ("0.5", 0.5)]
)
def test_ages_are_read_from_words(stated, years):
    assert parse_age_years(stated) == years


@pytest.mark.parametrize("stated", ["?", float("nan"), "adult", "740"])
def test_an_age_that_cannot_be_read_is_unknown(stated):
    assert math.isnan(parse_age_years(stated))


def test_each_source_of_ct_volumes_is_a_site(tmp_path):
    folder = tmp_path / "ct_volumes" / "covid_seg_u8"
    for name in ("coronacases_00", "radiopaedia_11"):
        for what in ("ct", "lung", "lesion"):
            write_nifti(folder / f"{name}_{what}.nii.gz", np.zeros((4, 5, 6), np.uint8), np.eye(4))
    cases = covid_ct_seg(str(tmp_path))
    assert [(case.case_id, case.site) for case in cases] == [
        ("coronacases_00", "coronacases"),
        ("radiopaedia_11", "radiopaedia"),
    ]
    assert cases[0].ct is not None
    assert (cases[0].ct.units, cases[0].ct.spacing_mm, cases[0].ct.slices) == ("arbitrary", None, 6)
    assert set(cases[0].masks) == {"lung", "lesion"}
    (folder / "radiopaedia_11_lesion.nii.gz").unlink()
    with pytest.raises(UserError, match=r"radiopaedia_11_lesion\.nii\.gz missing"):
        covid_ct_seg(tmp_path)


@pytest.mark.parametrize("cohort", [covid_ct_seg, covid_cxr])
def test_absent_data_name_the_variable_and_the_layout(cohort, tmp_path):
    for root in (None, "", tmp_path):
        with pytest.raises(UserError, match="KICC_DATA"):
            cohort(root)


@real_data
def test_the_nine_public_volumes_are_found():
    cases = covid_ct_seg(os.environ["KICC_DATA"])
    assert len(cases) == len(pd.read_csv(Path(os.environ["KICC_DATA"]) / "ct_volumes/volumes.csv").query("covid == 1"))
    assert {case.site for case in cases} == {"coronacases", "radiopaedia"}


@real_data
def test_no_public_person_or_duplicate_is_two_cases():
    table = pd.read_csv(Path(os.environ["KICC_DATA"]) / "cxr/metadata.csv").set_index("image_id")
    used = table.loc[ids(covid_cxr(os.environ["KICC_DATA"]))]
    assert used["person_group"].is_unique
    assert used["near_duplicate_group"].dropna().is_unique
    assert (used["covid"] & used["is_frontal"]).all()
    assert not (used["in_icu_at_image"] == 1).any()
    assert len(used) > 80


def test_rows_less_those_excluded_are_the_cases(tmp_path):
    rows = [
        {"image_id": "a", "person_group": "G1", "death": "0", "is_frontal": "0"},
        {"image_id": "b", "person_group": "G2", "intubated": "1"},
        {"image_id": "c", "person_group": "G3", "went_icu": "1", "in_icu_at_image": "1"},
        {"image_id": "d", "person_group": "G4", "death": "0", "offset_days": "0"},
        {"image_id": "e", "person_group": "G4", "death": "0", "offset_days": "5"},
    ]
    flow = covid_cxr(lay_cxr(tmp_path, rows)).flow
    assert (flow.rows, flow.cases, list(flow.excluded.values())) == (5, 1, [1, 1, 1, 1])


def test_every_scored_frontal_image_is_a_case_with_shares_of_the_scale(tmp_path):
    root = lay_cxr(
        tmp_path,
        [
            {"image_id": "a", "person_group": "G1", "brixia_S": "9", "brixia_J": "12", "covid": "0"},
            {"image_id": "b", "person_group": "G1", "geographic_extent": "4", "opacity": "1.5"},
            {"image_id": "c", "person_group": "G2", "opacity": "6", "is_frontal": "0"},
            {"image_id": "d", "person_group": "G3", "death": "1"},
        ],
    )
    a, b = cases = covid_cxr_severity(root)
    assert [case.person for case in cases] == ["G1", "G1"]
    assert (a.endpoints["brixia"], a.endpoints["brixia_reader_1"]) == (10.5 / 18, 9 / 18)
    assert (b.endpoints["geographic_extent"], b.endpoints["opacity"]) == (0.5, 0.25)
    assert math.isnan(a.endpoints["opacity"])
    assert math.isnan(b.endpoints["brixia"])
    assert cases.flow.excluded == {"no scored frontal radiograph": 2}


def test_a_table_without_scores_says_which_columns_it_needs(tmp_path):
    root = lay_cxr(tmp_path, [{"image_id": "a", "person_group": "G1", "death": "1"}])
    with pytest.raises(UserError, match="brixia_S"):
        covid_cxr_severity(root)


def test_an_image_with_finding_masks_is_known_to_have_no_other_lesion(tmp_path):
    zero = {"brixia_S": "0", "brixia_J": "0"}
    stated = {"clear": {"finding": "No Finding"}, "zero": zero, "one": {"brixia_S": "0"}}
    stated |= {"extent": {"geographic_extent": "0"}, "disagreeing": zero | {"geographic_extent": "1"}}
    names = ("none", "ggo", "both", "lung", *stated)
    root = lay_cxr(tmp_path, [{"image_id": name, "person_group": name} | stated.get(name, {}) for name in names])
    for name in ("none__left_lung", "ggo__ggo", "ggo__left_lung", "both__ggo", "both__consolidation"):
        (root / "cxr" / "finding_masks").mkdir(exist_ok=True)
        Image.new("1", (8, 6)).save(root / "cxr" / "finding_masks" / f"{name}.png")
    (root / "cxr" / "lung_masks").mkdir()
    Image.new("1", (8, 6)).save(root / "cxr" / "lung_masks" / "lung.png")
    masks = {
        case.case_id: {region: len(files) for region, files in case.cxr_masks.items()} for case in covid_cxr_masks(root)
    }
    scored_alone = masks.pop("disagreeing")
    marked = {"none": {"lesion": 0}, "ggo": {"lesion": 1}, "both": {"lesion": 2}, "lung": {"lung": 1}}
    assert masks == marked | {name: {"lesion": 0} for name in ("clear", "zero", "extent")}
    assert not scored_alone  # its extent above 0 is no mask


def test_what_readers_say_of_the_lungs_is_known_without_masks_too(tmp_path):
    said = {
        "extent": {"geographic_extent": "4", "brixia_S": "18", "brixia_J": "18"},
        "brixia": {"brixia_S": "9", "brixia_J": "9"},
        "clear": {"finding": "No Finding"},
    }
    root = lay_cxr(tmp_path, [{"image_id": name, "person_group": name} | said.get(name, {}) for name in (*said, "no")])
    (root / "cxr" / "finding_masks").mkdir()
    Image.new("L", (8, 6)).save(root / "cxr" / "finding_masks" / "no__ggo.png")
    share = {case.case_id: case.opacity_share for case in covid_cxr_masks(root)}
    assert {name: share[name] for name in said} == {"extent": 0.375, "brixia": 0.375, "clear": 0.0}
    assert share["no"] is None


@real_data
def test_the_real_masks_are_of_120_lungs_and_59_images_with_findings():
    cases = covid_cxr_masks(os.environ["KICC_DATA"])
    assert sum("lung" in case.cxr_masks for case in cases) == 120
    assert sum(bool(case.cxr_masks.get("lesion")) for case in cases) == 55
    assert sum(case.cxr_masks.get("lesion") == () for case in cases) == 14
    assert len({case.person for case in cases}) < len(cases)
