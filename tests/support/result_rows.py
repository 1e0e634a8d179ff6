"""Rows of cases and predictions of three hospitals, as a run writes them."""

import numpy as np
import pandas as pd

NO_ROWS = pd.DataFrame()


def case_rows() -> pd.DataFrame:
    """Three hospitals of eight; the lesion is absent everywhere at ``north``."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(24):
        site = ("north", "south", "west")[number % 3]
        dice = None if site == "north" else float(generator.uniform(0.6, 0.9))
        rows.append(
            {
                "case_id": f"{site}_{number:02}",
                "site": site,
                "fold": site,
                "distance_unit": "mm",
                **{f"lesion_{metric}": dice for metric in ("dice", "nsd_1mm", "nsd_2mm", "nsd_3mm", "hd95_mm")},
                "lesion_volume_error_ml": float(generator.normal()),
                "lesion_false_positive_ml": 1.0,
                "lesion_reason": "" if dice else "empty reference",
                "severity_score": number % 20,
                "severity_score_truth": number % 20 + number % 3,
                "percent_involved": 3.0 * number,
                "percent_involved_truth": 3.0 * number + 1,
            }
        )
    return pd.DataFrame(rows)


def prediction_rows() -> pd.DataFrame:
    """Oxygen and death of the same patients; nobody died at ``south``."""
    generator = np.random.default_rng(1)
    rows = []
    for case in case_rows().itertuples():
        for endpoint in ("oxygen", "death"):
            label = float(generator.random() < 0.5)
            label = 0.0 if endpoint == "death" and case.site == "south" else label
            for model in ("network", "clinical"):
                key = {"case_id": case.case_id, "site": case.site, "fold": case.fold, "endpoint": endpoint}
                rows.append(key | {"model": model, "probability": generator.uniform(0.05, 0.95), "label": label})
    return pd.DataFrame(rows)
