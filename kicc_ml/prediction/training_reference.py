"""The image features of a model's own training scans, with which new scans are compared where nothing was held out.

A model of all cases (``split=all``) has no out-of-fold predictions. Its training scans are predicted by the model
itself instead. Its lungs on them are a little better than on new scans, so the limits are a little narrower; nothing
but the image features is taken from them. The fold keeps centre, spread and limit of each feature, and no value of any
scan.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from kicc_ml.core.errors import UserError, describe_error
from kicc_ml.core.files import write_json
from kicc_ml.core.progress import track
from kicc_ml.core.received import read_json_object
from kicc_ml.core.types import Case, Modality
from kicc_ml.data.fold_cases import select_across_hospitals
from kicc_ml.data.volume_chain import chain_of
from kicc_ml.dicom.series.shown_files import name_case_files
from kicc_ml.models.segmenter import Segmenter
from kicc_ml.severity.domain_shift import MIN_HOSPITALS, ReferenceDistribution, fit_reference_distribution
from kicc_ml.severity.image_features import FEATURES, measure_features
from kicc_ml.severity.plain_values import is_number

logger = logging.getLogger(__name__)

REFERENCE = "reference.json"
#: Training scans that are measured, taken from the hospitals in turn: on a CPU a CT takes half a minute, a film less
#: than a second.
MOST_SCANS: Mapping[Modality, int] = {"CT": 16, "CXR": 200}
TRAIN_AGAIN = "train the fold again"


def write_training_reference(segmenter: Segmenter, cases: Sequence[Case], folder: Path) -> None:
    """Measure training scans, and write the distribution of their image features as ``reference.json``.

    Nothing is written for fewer than ``MIN_HOSPITALS`` hospitals, and for CT that is not in HU.

    Args:
        segmenter: the networks of the fold.
        cases: its training cases.
        folder: the folder of the fold.
    """
    modality = segmenter.canonical.modality
    measurable = [case for case in cases if modality == "CXR" or ((ct := case.ct) is not None and ct.units == "hu")]
    if len({case.site for case in measurable}) < MIN_HOSPITALS:
        return
    chosen = select_across_hospitals(measurable, MOST_SCANS[modality])
    once = replace(segmenter, tta_mirrors=((),))
    rows = [row for case in track(chosen, description="reference", total=len(chosen)) if (row := _measure(once, case))]
    if (reference := fit_reference_distribution(pd.DataFrame(rows))) is not None:
        write_json(folder / REFERENCE, asdict(reference))


def _measure(segmenter: Segmenter, case: Case) -> dict[str, str | float | None]:
    """Measure the features of one training scan; nothing if it cannot be read any more."""
    modality = segmenter.canonical.modality
    if (series := case.image(modality)) is None:
        return {}
    try:
        volume = chain_of(segmenter.canonical).read(series)
        return {"site": case.site, **measure_features(volume, segmenter.segment(volume), modality)}
    except Exception as error:  # foreign files fail in many ways, and one must not stop hundreds
        logger.warning(
            "%s is left out of the reference: %s", case.case_id, describe_error(error, name_case_files(case))
        )
        return {}


def read_training_reference(folder: Path) -> ReferenceDistribution | None:
    """Read the reference of a fold; None if it has none.

    Raises:
        UserError: the file does not hold centre, spread and limit of known features.
    """
    path = folder / REFERENCE
    if not path.is_file():
        return None
    kept = read_json_object(path, TRAIN_AGAIN)
    if set(kept) != {"centre", "spread", "limit"} or not all(isinstance(part, dict) for part in kept.values()):
        raise UserError(f"{path} does not hold centre, spread and limit of image features; {TRAIN_AGAIN}")
    centre, spread, limit = kept["centre"], kept["spread"], kept["limit"]
    if not centre or not set(centre) == set(spread) == set(limit) <= set(FEATURES):
        raise UserError(f"{path} names other image features than are measured here; {TRAIN_AGAIN}")
    if wrong := [name for name in centre if not _fits(centre[name], spread[name], limit[name])]:
        raise UserError(f"{path}: {wrong[0]} is not given as numbers; {TRAIN_AGAIN}")
    return ReferenceDistribution(centre, spread, limit)


def _fits(centre: Any, spread: Any, limit: Any) -> bool:
    return all(map(is_number, (centre, spread, limit))) and spread > 0 and limit > 0
