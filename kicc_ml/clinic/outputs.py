"""What a clinician gets of a predicted scan: page, montage, sheet and, for the PACS, DICOM; all of a case or none.

A radiograph has no sheet: its page prints on one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from kicc_ml.clinic.page.page import Doubt, PatientPage, Scan, Standing, write_page
from kicc_ml.clinic.page.scan import DisplayScan, display_film, display_scan
from kicc_ml.clinic.page.summary_pdf import summary_pdf
from kicc_ml.core.files import make_folder, remove_new_on_failure, write_bytes
from kicc_ml.core.types import DisplayOrientation, OutOfRangeFeature, Series, Volume
from kicc_ml.dicom.results.segmentation import PredictionSource
from kicc_ml.dicom.results.write import ScanFindings, write_objects
from kicc_ml.pictures.case_picture import without_image
from kicc_ml.prediction.result import MONTAGE, Result, draw
from kicc_ml.severity.domain_shift import involved_interval, is_unusual, reference_of

PAGE = "page.html"
SHEET = "summary.pdf"
DICOM = "dicom"
#: Columns of held-out rows that the interval is made from.
PREDICTED, TRUTH = "percent_involved", "percent_involved_truth"
UNCERTAIN = "uncertain_percent"


@dataclass(frozen=True)
class HeldOut:
    """A run's cases, each as the fold predicted it that held its hospital out.

    Columns are ``site``, the features of :mod:`kicc_ml.severity.image_features`, and the share of lung involved,
    predicted and true. Empty where there is no such run.
    """

    rows: pd.DataFrame

    def without(self, site: str) -> "HeldOut":
        """The other hospitals: what a case of that hospital may be judged against."""
        return HeldOut(self.rows[self.rows["site"] != site] if "site" in self.rows else self.rows)

    def standing(self, features: Mapping[str, float | None]) -> tuple[Standing, tuple[OutOfRangeFeature, ...]]:
        """Whether an image with such features is like these hospitals', and why not; unchecked with none in common."""
        reference = reference_of(self.rows)
        if reference is None or not any(features.get(name) is not None for name in reference.centre):
            return "unchecked", ()
        unlike = reference.unlike(features)
        return ("outside" if unlike else "inside"), unlike

    def interval(self, percent: float | None) -> tuple[float, float] | None:
        """The interval of the share of lung involved; None where the truth is known of too few hospitals."""
        if percent is None or TRUTH not in self.rows:
            return None
        known = self.rows.dropna(subset=[PREDICTED, TRUTH])
        predicted, truth, sites = (known[name].tolist() for name in (PREDICTED, TRUTH, "site"))
        return involved_interval(percent, predicted, truth, sites)

    def doubt(self, uncertain_percent: float | None) -> Doubt:
        """How much of the lung the model is unsure of, beside what it was unsure of at these hospitals."""
        known = self.rows.dropna(subset=[UNCERTAIN]) if UNCERTAIN in self.rows else pd.DataFrame()
        unusual = is_unusual(uncertain_percent, known[UNCERTAIN].tolist() if len(known) else [])
        return "unknown" if unusual is None else "unusual" if unusual else "usual"


@dataclass(frozen=True)
class Model:
    """The model behind a result: a hash of its weights, and what is said of it on every output."""

    weights: str
    provenance: Mapping[str, str]


def display_of(
    volume: Volume, masks: Mapping[str, np.ndarray], hanging: DisplayOrientation | None, *, burned_in: bool = False
) -> DisplayScan:
    """The scan as its page shows it; of one with text ``burned_in`` the map alone, since the text may be a name."""
    shown = without_image(volume) if burned_in else volume
    display = display_film(shown, masks, hanging == "stated") if hanging else display_scan(shown, masks)
    return replace(display, burned_in=burned_in)


def patient_page(
    result: Result,
    held_out: HeldOut,
    model: Model,
    identity: Mapping[str, str] | None = None,
) -> PatientPage:
    """The content of a case's page; ``identity`` only where it stays inside the hospital."""
    standing, because = held_out.standing(result.features)
    interval = held_out.interval(result.severity.percent_involved)
    return PatientPage(
        case_id=result.case_id,
        scan=Scan(
            display_of(result.volume, result.masks, result.hanging, burned_in=result.burned_in),
            result.severity,
            interval,
        ),
        hanging=result.hanging,
        standing=standing,
        standing_because=because,
        doubt=held_out.doubt(result.severity.uncertain_percent),
        provenance=model.provenance,
        identity=identity or {},
    )


def deliver(folder: Path, result: Result, page: PatientPage) -> None:
    """Write montage, page and, of a CT, sheet into the folder of a case, whole or not at all.

    Where the page says whose it is, nobody but the user can enter the folder or read them.
    """
    private = bool(page.identity)
    with remove_new_on_failure(folder):
        make_folder(folder, private=private)
        draw(result, folder / MONTAGE, private=private)
        if not result.hanging:
            write_bytes(folder / SHEET, summary_pdf(page, folder / MONTAGE), private=private)
        write_page(folder / PAGE, page)  # last, since a case with a page counts as one with all of these


def deliver_dicom(folder: Path, result: Result, page: PatientPage, series: Series, model: Model) -> list[Path]:
    """Write ``folder/dicom`` for the PACS that ``series`` came from; returns its files."""
    findings = ScanFindings(
        result.volume,
        result.masks,
        result.probability_xyz,
        result.severity,
        folder / MONTAGE,
        None if result.hanging else (folder / SHEET).read_bytes(),
        identified=bool(page.identity),
        risks=page.risks,
        scores=page.scores,
        sides=result.hanging in (None, "stated"),
    )
    return write_objects(
        PredictionSource(series, model.weights, version("kicc_ml"), model.provenance), findings, folder / DICOM
    )
