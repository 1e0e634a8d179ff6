"""What a clinician gets of a predicted scan: page, montage, sheet and, for the PACS, DICOM; all of a case or none.

A radiograph has no sheet: its page prints on one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from kicc_ml.clinic.page.page import DomainCheck, PatientPage, Scan, UncertaintyFlag, write_page
from kicc_ml.clinic.page.scan import DisplayScan, make_ct_display, make_radiograph_display
from kicc_ml.clinic.page.summary_pdf import make_summary_pdf
from kicc_ml.core.files import make_folder, remove_new_on_failure, write_bytes
from kicc_ml.core.types import DisplayOrientation, OutOfRangeFeature, Series, Volume
from kicc_ml.dicom.results.segmentation import PredictionSource
from kicc_ml.dicom.results.write import ScanFindings, write_objects
from kicc_ml.pictures.case_picture import without_image
from kicc_ml.prediction.result import MONTAGE, Result, draw
from kicc_ml.severity.domain_shift import compute_involved_interval, fit_reference_distribution, is_unusual

PAGE = "page.html"
SHEET = "summary.pdf"
DICOM = "dicom"
#: Columns of held-out rows that the interval is made from.
PREDICTED, REFERENCE = "percent_involved", "percent_involved_truth"
UNCERTAIN = "uncertain_percent"


@dataclass(frozen=True)
class OofCases:
    """A run's cases, each as the fold predicted it that held its hospital out.

    Columns are ``site``, the features of :mod:`kicc_ml.severity.image_features`, and the share of lung involved,
    predicted and true. Empty where there is no such run.
    """

    rows: pd.DataFrame

    def drop_site(self, site: str) -> "OofCases":
        """The other hospitals: what a case of that hospital may be judged against."""
        return OofCases(self.rows[self.rows["site"] != site] if "site" in self.rows else self.rows)

    def check_domain(self, features: Mapping[str, float | None]) -> tuple[DomainCheck, tuple[OutOfRangeFeature, ...]]:
        """Whether an image with such features is like these hospitals', and why not; unchecked with none in common."""
        reference = fit_reference_distribution(self.rows)
        if reference is None or not any(features.get(name) is not None for name in reference.centre):
            return "unchecked", ()
        unlike = reference.find_out_of_range(features)
        return ("outside" if unlike else "inside"), unlike

    def compute_interval(self, percent: float | None) -> tuple[float, float] | None:
        """The interval of the share of lung involved; None where the truth is known of too few hospitals."""
        if percent is None or REFERENCE not in self.rows:
            return None
        known = self.rows.dropna(subset=[PREDICTED, REFERENCE])
        predicted, truth, sites = (known[name].tolist() for name in (PREDICTED, REFERENCE, "site"))
        return compute_involved_interval(percent, predicted, truth, sites)

    def flag_uncertainty(self, uncertain_percent: float | None) -> UncertaintyFlag:
        """How much of the lung the model is unsure of, beside what it was unsure of at these hospitals."""
        known = self.rows.dropna(subset=[UNCERTAIN]) if UNCERTAIN in self.rows else pd.DataFrame()
        unusual = is_unusual(uncertain_percent, known[UNCERTAIN].tolist() if len(known) else [])
        return "unknown" if unusual is None else "unusual" if unusual else "usual"


@dataclass(frozen=True)
class ModelProvenance:
    """The model behind a result: a hash of its weights, and what is said of it on every output."""

    weights: str
    provenance: Mapping[str, str]


def make_display(
    volume: Volume, masks: Mapping[str, np.ndarray], hanging: DisplayOrientation | None, *, burned_in: bool = False
) -> DisplayScan:
    """The scan as its page shows it; of one with text ``burned_in`` the map alone, since the text may be a name."""
    shown = without_image(volume) if burned_in else volume
    display = make_radiograph_display(shown, masks, hanging == "stated") if hanging else make_ct_display(shown, masks)
    return replace(display, burned_in=burned_in)


def make_patient_page(
    result: Result,
    held_out: OofCases,
    model: ModelProvenance,
    identity: Mapping[str, str] | None = None,
) -> PatientPage:
    """The content of a case's page; ``identity`` only where it stays inside the hospital."""
    standing, because = held_out.check_domain(result.features)
    interval = held_out.compute_interval(result.severity.percent_involved)
    return PatientPage(
        case_id=result.case_id,
        scan=Scan(
            make_display(result.volume, result.masks, result.hanging, burned_in=result.burned_in),
            result.severity,
            interval,
        ),
        hanging=result.hanging,
        domain_check=standing,
        out_of_range=because,
        uncertainty_flag=held_out.flag_uncertainty(result.severity.uncertain_percent),
        provenance=model.provenance,
        identity=identity or {},
    )


def write_case_outputs(folder: Path, result: Result, page: PatientPage) -> None:
    """Write montage, page and, of a CT, sheet into the folder of a case, whole or not at all.

    Where the page says whose it is, nobody but the user can enter the folder or read them.
    """
    private = bool(page.identity)
    with remove_new_on_failure(folder):
        make_folder(folder, private=private)
        draw(result, folder / MONTAGE, private=private)
        if not result.hanging:
            write_bytes(folder / SHEET, make_summary_pdf(page, folder / MONTAGE), private=private)
        write_page(folder / PAGE, page)  # last, since a case with a page counts as one with all of these


def write_dicom_results(
    folder: Path, result: Result, page: PatientPage, series: Series, model: ModelProvenance
) -> list[Path]:
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
