"""The cards say how a run was made: what was converted or removed, whether anything was trained, whose patients."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from kicc_ml.evaluation.summary import summarise
from kicc_ml.report.cards.write import write_cards
from kicc_ml.report.checklist import fill_checklists
from tests.support.result_rows import NO_ROWS, prediction_rows

COUNTS = {
    "values of crp_mg_l at A taken as mg/dL": 120,
    "values of inr_ratio outside 0.5 to 20, now unknown": 2,
    "values of ferritin outside 1 to 9, now unknown": 0,
    "cases with CXR": 3,
}
VALUES = {"canonical_ct": None, "canonical_cxr": None, "features": None}


def make_run(**changed: Any) -> dict[str, str]:
    """The facts of a run of baselines alone, with some settings changed."""
    settings = {
        "cohort": {"_target_": "kicc_ml.cohort.public.aiforcovid.aiforcovid"},
        "split": {"_target_": "kicc_ml.cohort.splits.leave_one_site_out"},
        "data": VALUES,
        "network": None,
        "trainer": {"max_time": "00:00:10:00"},
    }
    return {"name": "run", "config": yaml.safe_dump(settings | changed)}


def make_summary(counts: dict[str, int]) -> dict[str, Any]:
    rows: pd.DataFrame = prediction_rows().replace({"model": {"clinical": "age_sex", "network": "clinical"}})
    flow = {"rows": 24, "cases": 24, "counts": counts, "excluded": {}}
    return summarise(NO_ROWS, rows) | {"flow": [{"name": "run", "flow": flow, "held_out": {}}]}


def write_both(folder: Path, counts: dict[str, int], **changed: Any) -> tuple[str, str]:
    """Write the cards of a run, and return the texts of its model card and its data card."""
    write_cards(folder, make_summary(counts), NO_ROWS, prediction_rows(), make_run(**changed), [])
    model, data = ((folder / f"{name}.md").read_text(encoding="utf-8") for name in ("model_card", "data_card"))
    return model.replace("\\", ""), data.replace("\\", "")


def test_both_cards_name_conversions_and_removals_and_no_count_that_singles_out_a_patient(tmp_path: Path):
    for card in write_both(tmp_path, COUNTS):
        assert "- Values of crp_mg_l at A taken as mg/dL: 120.\n" in card
        assert "- Values of inr_ratio outside 0.5 to 20, now unknown: fewer than 5.\n" in card
        assert "ferritin outside" not in card
        assert "as they are" not in card


def test_the_input_of_a_model_names_what_was_converted_and_what_is_fitted_in_the_fold(tmp_path: Path):
    model, _ = write_both(tmp_path, COUNTS)
    (tripod,) = (one for one in fill_checklists(make_summary(COUNTS), make_run()) if one["standard"] == "TRIPOD+AI")
    item = next(one["answer"] for one in tripod["items"] if one["item"] == "7")
    assert f"- Input: {item}" in model
    assert "converted from another unit: crp_mg_l at A taken as mg/dL;" in item
    assert "set to unknown: inr_ratio outside 0.5 to 20;" in item
    assert "imputation and scaling: fitted inside the fold" in item


def test_nothing_is_said_to_be_converted_where_nothing_was(tmp_path: Path):
    model, _ = write_both(tmp_path, {})
    assert "converted" not in model
    assert "set to unknown" not in model


def test_a_run_of_images_and_values_names_both(tmp_path: Path):
    data = VALUES | {"canonical_cxr": {"size": 128}}
    model, _ = write_both(tmp_path, COUNTS, data=data)
    assert "- Input: Radiographs to 128 pixels, and values of the table" in model


@pytest.mark.parametrize("network", [None, {"_target_": "kicc_ml.models.outcome.OutcomeNetwork"}])
def test_only_a_network_has_a_time_limit_of_its_training(tmp_path: Path, network: dict[str, str] | None):
    model, _ = write_both(tmp_path, {}, network=network)
    assert ("Time limit of the training of one fold" in model) == bool(network)
    assert ("- Training: No network; regressions and boosted trees are fitted inside each fold." in model) != bool(
        network
    )
    assert "Training: cannot be known" not in model


def test_cards_of_synthetic_patients_say_so_and_others_do_not(tmp_path: Path):
    demo = {"_target_": "kicc_ml.cohort.public.synthetic.synthetic", "preset": "demo"}
    for card in write_both(tmp_path / "demo", {}, cohort=demo):
        assert "- Cohort: synthetic demo (its patients are synthetic, none is a real person).\n" in card
    for card in write_both(tmp_path / "real", {}):
        assert "- Cohort: aiforcovid.\n" in card
