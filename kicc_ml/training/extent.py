"""Extent of disease on CT as features of outcome models, cross-fitted by hospital.

A segmenter is better on a case that it was trained on than on a new one, and a tested hospital that it was trained on
is no longer new. Therefore an outcome fold takes the features of each case from a segmenter that saw neither the case's
hospital nor the tested hospitals of the fold. Hospitals form four groups, and there is one segmenter for each pair of
groups left out (:func:`kicc_ml.cohort.splits.site_pairs`): six, for any number of hospitals. So the outcome model is
fitted on features of the same quality as those of a new hospital. Estimand: the value of extent for a hospital that
adopts a segmenter trained on about half of the others. A segmenter trained on all of them would be somewhat better.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from torch import nn

from kicc_ml.cohort.splits import read_splits
from kicc_ml.core.errors import UserError
from kicc_ml.core.files import write_table
from kicc_ml.core.types import Case, Split, index_by_id
from kicc_ml.data.datamodule import PatchDataModule
from kicc_ml.models.baselines.tabular import EXTENT
from kicc_ml.prediction.segmentation import held_out_segmentation, predict_series
from kicc_ml.prediction.segmenters import make_segmenter_in_training
from kicc_ml.prediction.several_devices import copy_after_training
from kicc_ml.runs.folder import SPLIT, About, fold_folder, fold_folders
from kicc_ml.runs.tables import read_numbers
from kicc_ml.severity.plain_values import CT_FEATURE

#: Of each fold: a row per case outside its training side with ``case_id``, ``series`` and the columns of ``EXTENT``.
EXTENT_TABLE = "extent.csv"
EXTENT_WORDS = ("case_id", "series")


@dataclass(frozen=True)
class ExtentFold:
    """The features that one segmenter made, by case, and the hospitals in its training and validation."""

    seen: frozenset[str]
    rows: Mapping[str, Mapping]


def held_out_extent(
    network: nn.Module, about: About, data: PatchDataModule, run_dir: Path
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Predict as :func:`held_out_segmentation`, and write ``extent.csv`` of all cases of hospitals not trained on."""
    rows, quarantined = held_out_segmentation(network, about, data, run_dir)
    folder = fold_folder(run_dir, data.split.fold)
    shutil.rmtree(folder / "held_out", ignore_errors=True)  # a fold that is trained anew is predicted anew
    cts = {case.case_id: case.ct for case in select_unseen_cases(data.cases, data.split) if case.ct is not None}
    others = {case_id: ct for case_id, ct in cts.items() if case_id not in set(data.split.test)}
    segmenter = make_segmenter_in_training(network, about, data, folder)
    copies = copy_after_training(segmenter, data.trainer, len(others))
    more, set_aside = predict_series(segmenter, others, folder / "held_out", copies=copies)
    table = pd.concat([rows, more], ignore_index=True).rename(columns=lambda name: f"{CT_FEATURE}{name}")
    table = table.rename(columns={f"{CT_FEATURE}case_id": "case_id"})
    table.insert(1, "series", [cts[case_id].uid for case_id in table["case_id"]])
    write_table(folder / EXTENT_TABLE, table[["case_id", "series", *EXTENT]])
    return rows, quarantined | set_aside


def select_unseen_cases(cases: Sequence[Case], split: Split) -> list[Case]:
    """Select the cases of hospitals that are not on the training side."""
    sites = index_by_id(cases)
    seen = {sites[case_id].site for case_id in (*split.train, *split.val)}
    return [case for case in cases if case.site not in seen]


def add_extent(cases: Sequence[Case], split: Split, run: Path) -> list[Case]:
    """Add ``EXTENT`` to the clinical features of those cases that have a segmented CT.

    Raises:
        UserError: the run holds no such features, or those of other cases or CTs, or only features of segmenters that
            were trained on a tested hospital.
    """
    folds = [read_fold(folder, cases) for folder in fold_folders(run)]
    tested = {case.site for case in cases if case.case_id in set(split.test)}
    return [_with_features(case, tested, folds, run) for case in cases]


def read_fold(folder: Path, cases: Sequence[Case]) -> ExtentFold:
    """Read the features of a fold of an extent run.

    Raises:
        UserError: the features or a column are missing, or the fold was trained on a case that ``cases`` lacks.
    """
    if not (folder / EXTENT_TABLE).is_file():
        raise UserError(f"{folder} holds no {EXTENT_TABLE}; make features with python train.py experiment=extent")
    (split,) = read_splits(folder / SPLIT)
    site_of = {case.case_id: case.site for case in cases}
    side = (*split.train, *split.val)
    if unknown := [case_id for case_id in side if case_id not in site_of]:
        raise UserError(f"{folder} was trained on {unknown[0]}, which this cohort does not have; give the same cohort")
    table = read_numbers(folder / EXTENT_TABLE, "train the fold again", EXTENT_WORDS)
    if lacking := {*EXTENT_WORDS, *EXTENT} - set(table):
        raise UserError(f"{folder / EXTENT_TABLE} has no column {', '.join(sorted(lacking))}; train the fold again")
    table = table.set_index("case_id")
    rows = {str(case_id): dict(row) for case_id, row in table.iterrows()}
    return ExtentFold(frozenset(site_of[case_id] for case_id in side), rows)


def _with_features(case: Case, tested: set[str], folds: Sequence[ExtentFold], run: Path) -> Case:
    if case.ct is None:
        return case
    honest = next((fold for fold in folds if not fold.seen & {case.site, *tested}), None)
    if honest is None:
        raise UserError(
            f"features_from={run}: every fold was trained on {case.site} or on a tested hospital "
            f"({', '.join(sorted(tested))}), so the features of {case.case_id} would leak; train them with "
            "experiment=extent (split=site_pairs), all folds, and predict outcomes with split=leave_one_site_out"
        )
    row = honest.rows.get(case.case_id)
    if row is None:  # set aside when it was segmented
        return case
    if row["series"] != case.ct.uid:
        raise UserError(
            f"features_from={run}: {case.case_id} was segmented on another CT than the one predicted from; use the "
            "same image_window_days and guard_endpoints for both"
        )
    return replace(case, clinical={**case.clinical, **{name: float(row[name]) for name in EXTENT}})
