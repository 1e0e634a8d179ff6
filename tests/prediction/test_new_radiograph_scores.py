"""A new film gets the scores that its fold predicted of it, and beside them how near such predictions came."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kicc_ml.core.errors import UserError
from kicc_ml.core.files import write_json, write_table, write_yaml
from kicc_ml.core.types import Case
from kicc_ml.data.canonical import CanonicalCXR
from kicc_ml.dicom.volume.read import read_volume
from kicc_ml.evaluation.score_figures import compute_score_figures
from kicc_ml.prediction.new_radiograph_scores import ScoreModel, score_model
from kicc_ml.prediction.radiograph_scores import held_out_severity
from kicc_ml.runs.folder import CONFIG, PREDICTIONS, ZONE_RIDGES, about_data, fold_folder
from tests.support.scored_radiographs import SCORES, image_case, severity_data

#: Resampling the film anew may round a pixel otherwise in half precision; a score is shown to a tenth.
TOLERANCE_POINTS = 1e-6


@pytest.fixture(scope="module")
def fold(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Case], pd.DataFrame]:
    """A run of one fold, the films it held out, and what it predicted of them from the zones."""
    folder = tmp_path_factory.mktemp("severity")
    cases = [image_case(folder, number, (40, 30)) for number in (4, 5, 12, 13, *range(4), *range(6, 12))]
    data = severity_data(cases, folder / "store")
    predictions, _ = held_out_severity(None, about_data(data), data, folder / "run")
    fold = fold_folder(folder / "run", "f1")
    canonical = {"_target_": f"{CanonicalCXR.__module__}.{CanonicalCXR.__name__}", "size": 32}
    write_yaml(fold / CONFIG, {"data": {"canonical_cxr": canonical}})
    write_table(fold / PREDICTIONS, predictions)
    return folder / "run", cases[:4], predictions[predictions["model"] == "zones"]


def model_of(run: Path) -> ScoreModel:
    found = score_model(run, "CXR")
    assert found is not None
    return found


def test_a_film_read_anew_gets_what_its_fold_predicted_of_it(fold):
    run, films, predictions = fold
    said = predictions.set_index(["case_id", "score"])["predicted"]
    model = model_of(run)
    again = {(film.case_id, one.score): one.points for film in films for one in model.scores(read_volume(film.cxr))}
    assert said.nunique() == len(films) * len(SCORES) == len(again)
    assert again == pytest.approx(said.to_dict(), abs=TOLERANCE_POINTS)


def test_folds_are_averaged_each_within_its_scale(fold, tmp_path: Path):
    run, (film, *_), _ = fold
    alone = {one.score: one.points for one in model_of(run).scores(read_volume(film.cxr))}
    both = shutil.copytree(run, tmp_path / "run")
    beyond = shutil.copytree(both / "f1", both / "f2") / ZONE_RIDGES
    kept = json.loads(beyond.read_text())
    for ridge in kept["models"].values():
        ridge["intercept"] += 100
    write_json(beyond, kept)
    for one in model_of(both).scores(read_volume(film.cxr)):
        assert one.points == pytest.approx((alone[one.score] + one.most) / 2)


def test_how_near_held_out_predictions_came_is_said_where_the_run_was_evaluated(fold, tmp_path: Path):
    run, (film, *_), predictions = fold
    assert {(one.r, one.mae_points, one.films) for one in model_of(run).scores(read_volume(film.cxr))} == {(None,) * 3}
    evaluated = shutil.copytree(run, tmp_path / "run")
    write_json(
        evaluated / "summary.json", {"image_scores": compute_score_figures(pd.read_csv(run / "f1" / PREDICTIONS))}
    )
    extent, _ = model_of(evaluated).scores(read_volume(film.cxr))
    rows = predictions[predictions["score"] == "geographic_extent"]
    assert extent.r == pytest.approx(np.corrcoef(rows["predicted"], rows["reference"])[0, 1])
    assert extent.mae_points == pytest.approx(np.abs(rows["predicted"] - rows["reference"]).mean())
    assert (extent.score, extent.most, extent.films) == ("geographic_extent", 8, 4)


def test_a_run_without_ridges_and_scans_that_are_no_films_are_the_users_error(fold, tmp_path: Path):
    assert score_model(None, "CT") is None
    with pytest.raises(UserError, match="is of radiographs, and the scans are CT"):
        score_model(fold[0], "CT")
    before = shutil.copytree(fold[0], tmp_path / "run")
    (before / "f1" / ZONE_RIDGES).unlink()
    with pytest.raises(UserError, match="train it again"):
        score_model(before, "CXR")
