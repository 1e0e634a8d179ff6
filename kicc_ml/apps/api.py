"""The Python interface: what ``import kicc_ml`` offers. Each function is one step of the line."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from kicc_ml import __version__
from kicc_ml.cohort.repository import repository
from kicc_ml.cohort.splits import leave_one_site_out
from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case, Series, SeverityMap, Split, Units, Volume
from kicc_ml.data.radiograph import hanging_of
from kicc_ml.dicom.index.build import index_sources
from kicc_ml.dicom.index.sources import find_scans
from kicc_ml.dicom.results.segmentation import PredictionSource
from kicc_ml.dicom.results.write import ScanFindings, write_objects
from kicc_ml.dicom.volume import read
from kicc_ml.evaluation.summary import summarise
from kicc_ml.models.segmenter import Segmenter
from kicc_ml.pictures.case_picture import draw_case_picture
from kicc_ml.pictures.montage import write_picture
from kicc_ml.prediction.bundle.load import is_bundle, load_bundle
from kicc_ml.prediction.segmenters import make_segmenter
from kicc_ml.runs.folder import load_folds
from kicc_ml.severity import grade as ct


def index_series(source: str | Path) -> list[Series]:
    """Find and judge the image series of a source, by their headers.

    Args:
        source: a folder, zip or DICOM file, or the address of a DICOMweb service.

    Returns:
        all series, refused ones too: ``verdict`` and ``reasons`` say what is wrong with them.

    Raises:
        UserError: there is no file to read.
    """
    return index_sources([source])[0]


def read_volume(scan: Series | str | Path, units: Units = "hu") -> Volume:
    """Read one scan to an array in patient space.

    Args:
        scan: a series of :func:`index_series`, or the folder or file of one CT or radiograph (DICOM, NIfTI, PNG).
        units: what the values of a NIfTI are, which does not say so itself.

    Returns:
        ``array[x, y, z]`` (a radiograph has one slice) and ``affine_ras`` (4 x 4, millimetres).

    Raises:
        UserError: there is no usable scan, or more than one.
    """
    if isinstance(scan, Series):
        return read.read_volume(scan)
    found = list(_scans_of_either_kind(Path(scan), units))
    if len(found) != 1:
        raise UserError(f"{scan} holds {len(found)} scans; choose one of index_series({str(scan)!r})")
    return read.read_volume(found[0])


def read_cohort(root: str | Path, **settings: Any) -> list[Case]:
    """Join the images of a consortium's repository with its clinical table.

    Args:
        root: the repository: a folder of DICOM files for each hospital, and ``clinical.csv``.
        settings: as those of ``configs/cohort/repository.yaml``, for example ``serial="latest"``.

    Returns:
        one case for each patient of the table.

    Raises:
        UserError: no hospitals, no table or a bad one, one person at two hospitals.
    """
    return repository(root, **settings)


def split_by_site(cases: Sequence[Case], val_fraction: float = 0.2, seed: int = 0) -> list[Split]:
    """Divide cases into one fold for each hospital, which is tested by models that never saw it.

    Args:
        cases: of :func:`read_cohort`.
        val_fraction: share of the other hospitals' patients to select models on.
        seed: of the choice of these patients.

    Returns:
        one split for each hospital; no person is on two sides of one.

    Raises:
        UserError: there are fewer than two hospitals.
    """
    return leave_one_site_out(cases, val_fraction=val_fraction, seed=seed)


def load_run(folder: str | Path, device: str = "auto", fast: bool = False, trust: Sequence[str] = ()) -> Segmenter:
    """Load the networks of a trained segmentation run, or of its bundle; nothing in the folder is executed.

    Args:
        folder: a run folder (one fold, or all of them as an ensemble), or what ``kicc-ml bundle`` wrote.
        device: ``cpu``, ``cuda``, ``cuda:1``, or ``auto`` for a GPU where there is one.
        fast: leave mirror images out: half the time, a little worse.
        trust: Python packages, such as your own, that parts of the run may be taken from.

    Returns:
        what :func:`segment` takes.

    Raises:
        UserError: the folder holds no finished segmentation run, or the device is not there.
    """
    load = load_bundle if is_bundle(Path(folder)) else load_folds
    return make_segmenter(load(Path(folder), trust), device, fast=fast)


def segment(
    run: Segmenter, image: Volume | np.ndarray, affine_ras: np.ndarray | None = None, units: Units = "hu"
) -> dict[str, np.ndarray]:
    """Segment one scan.

    Args:
        run: of :func:`load_run`.
        image: a volume of :func:`read_volume`, or an array ``[x, y, z]``.
        affine_ras: of an array: index to patient millimetres, RAS, 4 x 4.
        units: of an array: ``hu``, or ``arbitrary`` for a run that learnt from other grey values.

    Returns:
        bool ``[x, y, z]`` for each region that the run has learnt, on the grid of the image.

    Raises:
        UserError: the values are not of the kind that the run learnt from.
    """
    if isinstance(image, np.ndarray):
        if affine_ras is None:
            raise UserError("an array needs its affine_ras: where the patient's right, front and feet are")
        image = Volume(image, np.asarray(affine_ras, float), units)
    return run.segment(image)


def grade(masks: Mapping[str, np.ndarray], volume: Volume) -> SeverityMap:
    """Grade the extent of disease on one CT.

    Args:
        masks: bool ``[x, y, z]`` by region, on the grid of ``volume``: lungs and lesion, or its parts.
        volume: the CT.

    Returns:
        score (0-24), share of lung involved, volumes and weight; what cannot be computed is None, with a reason.
    """
    hu_xyz = volume.array if volume.units == "hu" else None
    return ct.grade(masks, volume.affine_ras, hu_xyz, spacing_known=volume.spacing_known)


def evaluate(cases: pd.DataFrame, predictions: pd.DataFrame) -> dict[str, Any]:
    """Compute all figures of a report from rows.

    Args:
        cases: one row per segmented case, as ``cases.csv``; may be empty.
        predictions: columns ``case_id site endpoint model label probability``; may be empty.

    Returns:
        the content of ``summary.json``: what cannot be computed is None, with a reason.

    Raises:
        UserError: a case is there twice.
    """
    return summarise(cases, predictions)


def write_dicom(
    series: Series, masks: Mapping[str, np.ndarray], out: str | Path, model: str = "", title: str = ""
) -> list[Path]:
    """Write the result of one CT series as DICOM objects for the PACS it came from. They identify the patient.

    Args:
        series: of :func:`index_series`.
        masks: bool ``[x, y, z]`` by region, on the grid of the series.
        out: folder of the objects; it takes the place of an earlier one.
        model: what made the masks, for their description.
        title: of the picture, for example the case id.

    Returns:
        the files: Segmentation, structured report, picture.

    Raises:
        UserError: the source cannot be read, or nothing was segmented.
    """
    volume = read.read_volume(series)
    severity = grade(masks, volume)
    with TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.png"
        write_picture(draw_case_picture(title, volume, masks, hanging_of(series), severity), picture)
        findings = ScanFindings(volume, masks, None, severity, picture, None)
        return write_objects(PredictionSource(series, model or "unknown", __version__), findings, Path(out))


def _scans_of_either_kind(place: Path, units: Units) -> list[Series]:
    found: list[Series] = []
    errors = []
    for modality in ("CT", "CXR"):
        try:
            found += find_scans(place, units, True, modality).values()
        except UserError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    return found
