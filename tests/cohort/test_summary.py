"""The summary of a clinical table, as text, JSON and table."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from kicc_ml.cohort.clinical_table import read_clinical
from kicc_ml.cohort.summary import Cutoffs, image_counts, summarise, summary
from kicc_ml.cohort.summary_tables import render, to_frame
from kicc_ml.core.errors import UserError
from kicc_ml.core.pseudonym import make_pseudonym
from kicc_ml.core.summary_items import SUMMARY_ITEMS
from kicc_ml.core.types import Series

KEY = b"a key"
TABLE = """site,patient_id,age_years,sex,underlying_disease,fever,lymphocyte_1e9_l,platelet_1e9_l,crp_mg_l,\
oxygen,ventilation,icu,death,ct_scans,cxr_images
A,1,11,M,1,1,0.99,149,10,1,1,1,1,2,3
A,2,50,F,0,1,1.0,150,9.9,1,0,0,0,1,0
A,3,97,F,1,,,,,0,0,0,0,0,2
B,1,52,M,0,0,0.5,,50,0,,0,0,1,1
"""
#: Counted by hand from the table above.
EXPECTED = {
    "patients": 4, "sites": 2, "men": 2, "women": 2, "age_mean": 52.5, "age_min": 11, "age_max": 97,
    "underlying_disease": 2, "fever": 2, "cough": None, "lymphocytopenia": 2, "thrombocytopenia": 1,
    "elevated_crp": 2, "oxygen_or_ventilation": 2, "mechanical_ventilation": 1, "icu": 1, "died": 1,
    "ct_patients": 3, "ct_scans": 4, "cxr_patients": 3, "cxr_images": 6, "both_modalities": 2, "ct_only": 1,
    "cxr_only": 1,
}  # fmt: skip


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "clinical.csv").write_text(TABLE)
    return tmp_path


def test_a_table_alone_gives_every_figure(root):
    found = summary(root)
    assert {item: found[item] for item in SUMMARY_ITEMS} == EXPECTED
    assert list(found)[: len(SUMMARY_ITEMS)] == list(SUMMARY_ITEMS)
    assert found["images_from"] == "table"


def test_sites_have_the_same_keys(root):
    by_site = summary(root)["by_site"]
    assert (by_site["A"]["patients"], by_site["A"]["age_mean"], by_site["A"]["cxr_images"]) == (3, 52.7, 5)
    assert (by_site["B"]["patients"], by_site["B"]["sites"], by_site["B"]["elevated_crp"]) == (1, 1, 1)
    assert by_site["B"]["mechanical_ventilation"] is None  # its only cell is empty
    assert set(by_site["B"]) == set(summary(root)) - {"by_site"}


def test_what_cannot_be_computed_is_null_with_a_reason(root):
    found = json.loads(json.dumps(summary(root), allow_nan=False))
    assert found["cough"] is None
    assert found["reason"] == {"cough": "nothing in the table under cough"}


def test_empty_cells_are_counted_per_column(root):
    missing = summary(root)["missing"]
    assert (missing["crp_mg_l"], missing["fever"], missing["age_years"]) == (1, 1, 0)


def test_cut_offs_are_settings(root):
    assert summary(root, cutoffs=Cutoffs(crp_from_mg_l=5))["elevated_crp"] == 3


def test_default_cut_offs_are_those_the_synthetic_cohort_is_drawn_with():
    synthetic = pytest.importorskip("kicc_ml.synthetic.laboratory")
    assert Cutoffs() == Cutoffs(
        synthetic.LYMPHOCYTOPENIA_BELOW_1E9_L,
        synthetic.THROMBOCYTOPENIA_BELOW_1E9_L,
        synthetic.ELEVATED_CRP_FROM_MG_L,
    )


def series(site: str, patient_id: str, modality: str, study: str) -> Series:
    return Series(
        site=site, patient=make_pseudonym(KEY, site, patient_id), study=study, uid=study, modality=modality,
        files=(Path("a"),), rows=4, columns=4, slices=1, spacing_mm=None, units="hu", verdict="usable",
    )  # fmt: skip


def test_images_are_counted_from_the_index_and_a_disagreement_is_told(root):
    table = read_clinical(root / "clinical.csv")
    found = [
        series("A", "1", "CT", "first"),
        series("A", "1", "CT", "first"),  # thick and thin of one scan
        series("A", "1", "CT", "second"),
        *(series("A", "1", "CXR", f"x{number}") for number in range(3)),
        series("A", "2", "CT", "third"),
        replace(series("A", "3", "CT", "broken"), verdict="refused"),
        series("C", "1", "CT", "stranger"),
    ]
    counted = image_counts(table, found, KEY)
    assert counted["ct_scans"].tolist() == [2, 1, 0, 0]
    result = summarise(table, counted, Cutoffs())
    assert (result["ct_scans"], result["cxr_images"], result["images_from"]) == (3, 3, "index")
    assert result["disagreement"] == [
        {"item": "ct_scans", "table": 4, "index": 3, "patients": 1},
        {"item": "cxr_images", "table": 6, "index": 3, "patients": 2},
    ]
    assert result["by_site"]["A"]["disagreement"] == [{"item": "cxr_images", "table": 5, "index": 3, "patients": 1}]


def test_without_images_and_counts_the_imaging_is_null(root):
    lines = [line.rsplit(",", 2)[0] for line in TABLE.splitlines()]
    (root / "clinical.csv").write_text("\n".join(lines))
    found = summary(root)
    assert found["ct_scans"] is found["both_modalities"] is None
    assert "no image under the hospital folders" in found["reason"]["ct_scans"]


def test_the_tables_show_every_item_and_hospital(root):
    console = Console(width=140, record=True, file=io.StringIO())
    table = read_clinical(root / "clinical.csv")
    console.print(render(summarise(table, image_counts(table, [], KEY), Cutoffs())))
    shown = console.export_text()
    assert all(words in shown for words in SUMMARY_ITEMS.values())
    assert "50.0" in shown  # 2 of 4 men, in percent
    assert "The table states 4 ct_scans, the index found 0; 3 patient(s) differ" in shown


def test_the_frame_has_a_column_per_hospital(root):
    frame = to_frame(summary(root))
    assert list(frame.columns) == ["item", "overall", "A", "B"]
    frame = frame.set_index("item")
    assert frame.loc["patients"].tolist() == [4, 3, 1]
    assert frame.loc["missing crp_mg_l"].tolist() == [1, 1, 0]


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        summary(tmp_path / "nowhere")


def test_columns_and_hospitals_with_markup_are_shown_letter_by_letter(tmp_path):
    hostile = "[/b][red]"
    table = TABLE.replace("crp_mg_l", f"crp{hostile}_mg_l").replace("A,", f"{hostile},")
    (tmp_path / "clinical.csv").write_text(table)
    out = io.StringIO()
    Console(file=out, width=250).print(render(summary(tmp_path)))
    assert f"empty: crp{hostile}_mg_l" in out.getvalue()
    assert out.getvalue().count(hostile) > 1  # the hospital too
