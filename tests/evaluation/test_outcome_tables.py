"""Tables of outcomes: meta-analyses, decision and calibration curves."""

import numpy as np
import pandas as pd

from kicc_ml.evaluation.outcome_tables import compute_meta_analyses


def predictions(model: str, probability: np.ndarray) -> pd.DataFrame:
    """Thirty cases at ``a`` and ``b``, four at ``c``, three without an event at ``d``."""
    site = np.repeat(list("abcd"), [30, 30, 4, 3])
    label = np.where(site == "d", 0.0, np.arange(67) % 2)
    case = np.arange(67).astype(str)
    columns = {"case_id": case, "site": site, "label": label, "probability": probability}
    return pd.DataFrame(columns | {"endpoint": "death", "model": model})


def test_hospitals_of_one_class_are_left_out_by_name_and_those_of_few_events_are_not() -> None:
    generator = np.random.default_rng(0)
    found = compute_meta_analyses(predictions("clinical", generator.random(67)))["death"]["clinical"]
    assert found["left_out"] == ["d"]
    assert found["few"] == ["c"]
    assert found["reml"]["k"] == 3


def test_a_model_that_tells_nobody_apart_leaves_no_other_hospital_out() -> None:
    found = compute_meta_analyses(predictions("prevalence", np.full(67, 0.3)))["death"]["prevalence"]
    assert found["left_out"] == ["d"]
    assert found["reml"]["mean"] is None
    assert found["reml"]["reason"]
