"""What the code writes is what the schemas say: each file that leaves the project, and no key beside it."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from kicc_ml.apps.cli import app
from kicc_ml.clinic.new_scan import NewScanPipeline, OutcomePredictor
from kicc_ml.cohort.flow import Flow
from kicc_ml.core.progress import StageTimer
from kicc_ml.core.schemas.versions import add_version
from kicc_ml.core.types import RadiographScore, Risk
from kicc_ml.evaluation.score_figures import compute_score_figures, make_score_table
from kicc_ml.evaluation.summary import format_summary, summarise
from kicc_ml.prediction.segmentation import write_case
from tests.support.finished_run import evaluate, hospital, outcome_run
from tests.support.predicted_scan import MODEL, NOTHING, film, predicted
from tests.support.result_rows import NO_ROWS, case_rows, prediction_rows
from tests.support.schemas import list_faults, list_file_faults, list_table_faults

GROUPS = pd.DataFrame({"case_id": case_rows()["case_id"], "sex": ["men", None] * 12, "age_band": ["under 50"] * 24})
ONE_SITE = case_rows()["site"] == "south"


class Model:
    """An outcome model, and one of radiograph scores, that say the same of everybody."""

    def risks(self, *_: object) -> tuple[Risk, ...]:
        return Risk("icu", 0.4, None, 0.6, {"slope": "0.9 (0.5 to 1.3)"}), Risk("death", 0.1, 0.05, 0.2, {}, 0.3)

    def basis(self, *_: object) -> str:
        return "CT, 3 of 4 values of the table"

    def scores(self, *_: object) -> tuple[RadiographScore, ...]:
        return RadiographScore("brixia", 7.2, 18.0, 0.7, 2.9, 114), RadiographScore("opacity", 2, 6, None, None, None)


@pytest.mark.parametrize(
    ("cases", "predictions"),
    [
        (case_rows(), prediction_rows()),
        (case_rows(), NO_ROWS),
        (NO_ROWS, prediction_rows()),
        (NO_ROWS, NO_ROWS),
        (case_rows()[ONE_SITE], prediction_rows().query("site == 'south'")),
        (case_rows().head(2), prediction_rows().head(2)),
        (case_rows().assign(distance_unit="voxel"), prediction_rows().replace({"network": "theirs"})),
        (case_rows(), prediction_rows().assign(probability=0.5)),
        (case_rows(), prediction_rows().assign(label=None)),
    ],
)
def test_a_summary_is_as_its_schema_says(cases: pd.DataFrame, predictions: pd.DataFrame):
    summary = json.loads(format_summary(summarise(cases, predictions, GROUPS)))
    assert list_faults("summary", summary) == []
    assert list_faults("summary", summary | {"added": 1})
    without = {key: value for key, value in summary.items() if key != "schema_version"}
    assert list_faults("summary", without)


@pytest.mark.parametrize("path", [("sites",), ("severity",), ("segmentation", "lesion", "dice"), ("verdict", "death")])
def test_a_key_that_is_added_within_a_summary_is_found(path: tuple[str, ...]):
    summary = json.loads(format_summary(summarise(case_rows(), prediction_rows())))
    place = summary
    for key in path:
        place = place[key]
    place["added"] = 1
    assert list_faults("summary", summary)


def test_a_null_without_a_reason_is_found():
    summary = json.loads(format_summary(summarise(case_rows(), NO_ROWS)))
    del summary["outcome"]["icu"]["network"]["auroc"]["reason"]
    assert list_faults("summary", summary)


def test_an_evaluated_run_is_as_the_schemas_say(tmp_path: Path):
    run = outcome_run(tmp_path, {"seoul_1": "the file is damaged"})
    (run / "flow.json").write_text(json.dumps(Flow(41, 40).as_json()))  # of a release without versions
    evaluate(run)
    assert list_file_faults(run / "summary.json") == []
    assert json.loads((run / "summary.json").read_text())["flow"][0]["flow"]["rows"] == 41
    assert [fault for path in run.glob("*/predictions.csv") for fault in list_table_faults(path)] == []


def test_figures_of_radiograph_scores_are_as_the_schema_says():
    rows = pd.DataFrame(
        {"case_id": f"c{number}", "site": "rome", "person": f"p{number % 6}", "fold": "rome", "score": "brixia"}
        | {"model": model, "predicted": 1.0 + number % (5 if model == "zones" else 1), "reference": float(number % 7)}
        for number in range(20)
        for model in ("zones", "mean", "second_reader")
    )
    summary = summarise(NO_ROWS, NO_ROWS) | {"image_scores": compute_score_figures(rows)}
    assert list_faults("summary", json.loads(format_summary(summary))) == []
    table = make_score_table(rows).to_dict("records")
    assert [fault for row in table for fault in list_faults("cases_table", row)] == []


def test_severity_and_outcome_of_a_scan_are_as_the_schemas_say(tmp_path: Path):
    series, result = predicted(tmp_path)
    clinic = NewScanPipeline(NOTHING, MODEL, outcomes=OutcomePredictor(Model()))  # type: ignore[arg-type]
    clinic(series, result, tmp_path / "out")
    with result.stages("lungs"):
        write_case(tmp_path / "out", result.masks, result.volume, result.severity, {}, StageTimer({"lungs": 0.1}))
    assert list_file_faults(tmp_path / "out" / "severity.json") == []
    assert list_file_faults(tmp_path / "out" / "outcome.json") == []


def test_severity_and_scores_of_a_radiograph_are_as_the_schemas_say(tmp_path: Path):
    series, result = film(tmp_path)
    NewScanPipeline(NOTHING, MODEL, score_model=Model())(series, result, tmp_path / "out")  # type: ignore[arg-type]
    write_case(tmp_path / "out", result.masks, result.volume, result.severity.without_sides, {}, StageTimer())
    assert list_file_faults(tmp_path / "out" / "severity.json") == []
    assert list_file_faults(tmp_path / "out" / "scores.json") == []


def test_a_participant_flow_is_as_its_schema_says():
    flow = Flow(3, 2)
    flow.excluded["no image"] += 1
    assert list_faults("flow", add_version("flow", flow.as_json())) == []


def print_json(command: str, source: Path) -> dict[str, Any]:
    return json.loads(CliRunner().invoke(app, [command, str(source), "--json"]).stdout)


def test_table_1_and_diagnosis_as_json_are_as_their_schemas_say(tmp_path: Path):
    assert list_faults("cohort_summary", print_json("summary", hospital(tmp_path / "repo"))) == []
    predicted(tmp_path / "scans", WindowCenter=None)
    diagnosis = print_json("doctor", tmp_path / "scans")
    assert list_faults("doctor", diagnosis) == []
    assert diagnosis["findings"]


def test_rows_of_cases_are_as_their_schema_says():
    rows = case_rows().astype(object).where(case_rows().notna(), None).to_dict("records")
    assert [fault for row in rows for fault in list_faults("cases_table", row)] == []
    assert list_faults("cases_table", rows[0] | {"added": 1})
