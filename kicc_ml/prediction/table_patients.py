"""Risks of patients who have clinical values but no image."""

from collections.abc import Sequence

import pandas as pd

from kicc_ml.core.types import Case
from kicc_ml.prediction.new_patient import OutcomeModel

COLUMNS = ("case_id", "site", "endpoint", "probability", "low", "high", "clinical")

#: The reason why a patient of a table has no risk.
NOTHING_KNOWN = "no value of the table that the models take is known of this patient"


def predict_table(model: OutcomeModel, cases: Sequence[Case]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Predict a row of ``COLUMNS`` per patient and endpoint; also return the reason for each patient without a risk."""
    rows, without = [], {}
    for case in cases:
        risks = model.risks({}, case.clinical)
        if not risks:
            without[case.case_id] = NOTHING_KNOWN
        for risk in risks:
            said = (case.case_id, case.site, risk.endpoint, risk.probability, risk.low, risk.high, risk.clinical)
            rows.append(dict(zip(COLUMNS, said, strict=True)))
    return pd.DataFrame(rows, columns=list(COLUMNS)), without
