"""Write the model card and the data card of an evaluated run beside its report."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from kicc_ml.core.files import make_folder
from kicc_ml.core.locks import hold
from kicc_ml.report.cards.card import write_card
from kicc_ml.report.cards.data_card import make_data_card
from kicc_ml.report.cards.model_card import make_model_card
from kicc_ml.report.report import LOCK, count_participants
from kicc_ml.runs.folder import COHORT, DATA_CARD, MODEL_CARD


def write_cards(
    folder: Path,
    summary: Mapping[str, Any],
    cases: pd.DataFrame,
    predictions: pd.DataFrame,
    run: Mapping[str, str],
    folds: Sequence[Path],
) -> None:
    """Write ``model_card`` and ``data_card`` as ``.md`` and ``.html`` into the folder of a report.

    Args:
        folder: the folder of the report.
        summary: the content of its ``summary.json``.
        cases: the rows of its ``cases.csv``.
        predictions: a row for each case, endpoint and model.
        run: that of :func:`kicc_ml.report.report.write_report`.
        folds: the folders of the evaluated folds.
    """
    participants, snapshots = count_participants(cases, predictions), compute_snapshots(folds)
    cards = {
        MODEL_CARD: make_model_card(summary, run, cases, participants, snapshots),
        DATA_CARD: make_data_card(summary, run, participants, snapshots),
    }
    with hold(make_folder(folder) / LOCK, f"the report in {folder}", wait=True):
        for name, card in cards.items():
            write_card(folder, name, card)


def compute_snapshots(folds: Sequence[Path]) -> dict[str, str]:
    """Compute the SHA-256 of ``cohort.json`` of each run among ``folds``, by the run's name."""
    paths = [run / COHORT for run in dict.fromkeys(fold.parent for fold in folds)]
    return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.is_file()}
