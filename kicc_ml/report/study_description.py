"""Describe a study for its report: participant flow, Table 1, leakage, and the environment of the run."""

import platform
import subprocess
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kicc_ml.cohort.case_summary import summarise_cases
from kicc_ml.core.errors import UserError
from kicc_ml.core.schemas.versions import read_versioned
from kicc_ml.core.types import Case, Series
from kicc_ml.dicom.volume.thumbnail import THUMBNAIL_PIXELS, make_thumbnail
from kicc_ml.evaluation.leakage import compute_validation_gaps, find_duplicates, probe_site
from kicc_ml.report.sweep_table import describe_tried
from kicc_ml.runs.folder import FLOW, PREDICTIONS, read_fold_settings
from kicc_ml.runs.tables import read_predictions
from kicc_ml.runs.tried import read_tried

PACKAGES = ("torch", "monai", "pytorch-lightning", "pydicom", "SimpleITK", "scikit-learn", "numpy")

#: Side, in pixels, of the coarse image whose mean grey values the site probe gets. They show traces of the detector,
#: the field of view and the dose.
PROBE_PIXELS = 8

#: Names of two kinds of split in ``config.yaml``, for the gap between two runs.
PATIENT_LEVEL, UNSEEN_SITES = "patient_kfold", "leave_one_site_out"


def describe_study(
    folds: Sequence[Path], cases: Mapping[str, Case], gap: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Describe a study by ``flow settings_tried table_1 leakage`` for its ``summary.json``.

    Args:
        folds: the folders of the folds.
        cases: the cases of the cohort by id.
        gap: the rows of :func:`compute_gap`.
    """
    of_cases = {
        "table_1": summarise_cases(cases.values()),
        "leakage": check_leakage(list(cases.values())) | {"validation_gap": list(gap)},
    }
    tried = read_tried(list(dict.fromkeys(fold.parent for fold in folds)))
    return {"flow": read_flows(folds), "settings_tried": tried | {"said": describe_tried(tried)}} | of_cases


def read_flows(folds: Sequence[Path]) -> list[dict[str, Any]]:
    """Read the ``flow.json`` of each run among ``folds``, and count the cases that each fold held out."""
    runs = dict.fromkeys(fold.parent for fold in folds)
    return [
        {
            "name": run.name,
            "flow": read_versioned(run / FLOW, "flow", "remove it, and the report is written without it"),
            "held_out": {fold.name: _count_cases(fold / PREDICTIONS) for fold in folds if fold.parent == run},
        }
        for run in runs
        if (run / FLOW).is_file()
    ]


def _count_cases(predictions: Path) -> int:
    return int(read_predictions(predictions.parent)["case_id"].nunique())


def check_leakage(cases: Sequence[Case]) -> dict[str, Any]:
    """Probe whether features predict the hospital, and find images that two persons share.

    The probe gets the clinical features, and the mean grey values of each index image, standardised by image.

    Returns:
        ``site_probe`` (a row for each kind of feature), ``duplicates``, and ``pictures`` (number of images compared).
    """
    images = {"CT": [case.ct for case in cases], "radiograph": [case.cxr for case in cases]}
    thumbnails = {kind: _make_thumbnails(series) for kind, series in images.items() if any(series)}
    probes = [_probe_features("clinical table", _make_clinical_features(cases), cases)]
    probes += [
        _probe_features(kind, _compute_coarse_greys(thumbnail_nxy), cases) for kind, thumbnail_nxy in thumbnails.items()
    ]
    copies = [_find_copies(kind, thumbnail_nxy, cases) for kind, thumbnail_nxy in thumbnails.items()]
    return {
        "site_probe": [probe for probe in probes if probe],
        "duplicates": [row for found in copies for row in found],
        "pictures": {
            kind: int(np.isfinite(thumbnail_nxy).all((1, 2)).sum()) for kind, thumbnail_nxy in thumbnails.items()
        },
    }


def _make_thumbnails(images: Sequence[Series | None]) -> np.ndarray:
    """Make the thumbnails ``[n, x, y]``; NaN without a readable image, which is reported where it is trained on."""
    return np.stack([_make_thumbnail(series) for series in images])


def _make_thumbnail(series: Series | None) -> np.ndarray:
    empty = np.full((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), np.nan)
    try:
        return make_thumbnail(series) if series else empty
    except UserError:
        return empty


def _compute_coarse_greys(thumbnail_nxy: np.ndarray) -> np.ndarray:
    """Compute features ``[n, PROBE_PIXELS ** 2]`` with mean 0 and SD 1 within each image."""
    part = thumbnail_nxy.shape[1] // PROBE_PIXELS
    coarse_nxy = thumbnail_nxy.reshape(-1, PROBE_PIXELS, part, PROBE_PIXELS, part).mean(axis=(2, 4))
    feature_nf = coarse_nxy.reshape(len(coarse_nxy), -1)
    spread_n1 = feature_nf.std(axis=1, keepdims=True)
    return (feature_nf - feature_nf.mean(axis=1, keepdims=True)) / np.where(spread_n1 > 0, spread_n1, 1)


def _make_clinical_features(cases: Sequence[Case]) -> np.ndarray:
    return pd.DataFrame([dict(case.clinical) for case in cases]).to_numpy(float)


def _probe_features(features: str, feature_nf: np.ndarray, cases: Sequence[Case]) -> dict[str, Any] | None:
    """Probe the cases that have any of the features; None if no case has."""
    known_n = np.isfinite(feature_nf).any(axis=1)
    if not known_n.any():
        return None
    found = vars(probe_site(feature_nf[known_n], np.array([case.site for case in cases])[known_n]))
    row = {"features": features, "n": int(known_n.sum()), "value": found["accuracy"]}
    row |= {name: found[name] for name in ("low", "high", "chance", "flagged")} | {"left_out": list(found["left_out"])}
    return row | ({"reason": found["reason"]} if found["reason"] else {})


def _find_copies(kind: str, thumbnail_nxy: np.ndarray, cases: Sequence[Case]) -> list[dict[str, Any]]:
    feature_nf = thumbnail_nxy.reshape(len(cases), -1)
    known_n = np.isfinite(feature_nf).all(axis=1)
    rows = pd.DataFrame({name: [getattr(case, name) for case in cases] for name in ("case_id", "site", "person")})
    rows["digest"] = [
        sha256(image_f.tobytes()).hexdigest() if known and np.ptp(image_f) else ""
        for known, image_f in zip(known_n, feature_nf, strict=True)
    ]
    found = find_duplicates(rows, feature_nf).to_dict("records")
    return [{"image": kind, **{str(name): value for name, value in row.items()}} for row in found]


def compute_gap(divisions: Mapping[Path, str], predictions: Mapping[Path, pd.DataFrame]) -> list[dict[str, Any]]:
    """Compute the gap between patient-level and leave-one-site-out validation; empty unless there is a run of each."""
    of_kind = {division: run for run, division in divisions.items() if len(predictions[run])}
    if not {PATIENT_LEVEL, UNSEEN_SITES} <= set(of_kind):
        return []
    return compute_validation_gaps(predictions[of_kind[PATIENT_LEVEL]], predictions[of_kind[UNSEEN_SITES]])


def read_division(fold: Path) -> str:
    """Read the kind of split of a fold from its settings."""
    settings = read_fold_settings(fold)
    return settings.require(settings.division, "split._target_")


def describe_environment() -> dict[str, str]:
    """Describe versions, commit and machine, each a line of the report."""
    return {
        "kicc_ml": version("kicc_ml"),
        **({"commit": commit} if (commit := _read_commit()) else {}),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _read_processor(),
    }


def _read_commit() -> str:
    """Read the commit of the checkout that holds this package; "" if there is no checkout or no git."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return ""
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _read_processor() -> str:
    """Read the model of the processor as Linux names it, or else as Python names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "not stated"
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or "not stated")
