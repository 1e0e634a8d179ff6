"""Write the outputs of a predicted scan: page, montage, summary sheet and DICOM; all files of a case or none.

A radiograph has no summary sheet, because its page prints on one sheet.
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
from kicc_ml.severity.domain_shift import (
    ReferenceDistribution,
    compute_involved_interval,
    fit_reference_distribution,
    is_unusual,
)

PAGE = "page.html"
SHEET = "summary.pdf"
DICOM = "dicom"
#: Columns of the out-of-fold cases from which the interval is computed.
PREDICTED, REFERENCE = "percent_involved", "percent_involved_truth"
UNCERTAIN = "uncertain_percent"


@dataclass(frozen=True)
class OofCases:
    """The out-of-fold cases of a run: each was predicted by the fold that did not train on its hospital.

    Columns are ``site``, the features of :mod:`kicc_ml.severity.image_features`, and the share of lung involved, both
    predicted and of the reference masks. Empty without an evaluated run. ``training`` are the image features of the
    training cases of a run that held nothing out; only the domain check uses them.
    """

    rows: pd.DataFrame
    training: ReferenceDistribution | None = None

    def drop_site(self, site: str) -> "OofCases":
        """Drop the cases of a hospital; a case of that hospital is compared with the remaining ones.

        Of the training cases no hospital can be dropped, so they are dropped together.
        """
        return OofCases(self.rows[self.rows["site"] != site] if "site" in self.rows else self.rows)

    def check_domain(self, features: Mapping[str, float | None]) -> tuple[DomainCheck, tuple[OutOfRangeFeature, ...]]:
        """Compare the features of an image with these hospitals, and return those out of range.

        The check is ``unchecked`` if there are too few hospitals, or if no feature is known of both.
        """
        reference = fit_reference_distribution(self.rows) or self.training
        if reference is None or not any(features.get(name) is not None for name in reference.centre):
            return "unchecked", ()
        out_of_range = reference.find_out_of_range(features)
        return ("outside" if out_of_range else "inside"), out_of_range

    def compute_interval(self, percent: float | None) -> tuple[float, float] | None:
        """Compute the interval for the share of lung involved; None if too few hospitals have reference masks."""
        if percent is None or REFERENCE not in self.rows:
            return None
        known = self.rows.dropna(subset=[PREDICTED, REFERENCE])
        predicted, truth, sites = (known[name].tolist() for name in (PREDICTED, REFERENCE, "site"))
        return compute_involved_interval(percent, predicted, truth, sites)

    def flag_uncertainty(self, uncertain_percent: float | None) -> UncertaintyFlag:
        """Compare the uncertain share of the lung with that of the cases of these hospitals."""
        known = self.rows.dropna(subset=[UNCERTAIN]) if UNCERTAIN in self.rows else pd.DataFrame()
        unusual = is_unusual(uncertain_percent, known[UNCERTAIN].tolist() if len(known) else [])
        if unusual is None:
            return "unknown"
        return "unusual" if unusual else "usual"


@dataclass(frozen=True)
class ModelProvenance:
    """The model behind a result: a hash of its weights, and the lines that describe it on every output."""

    weights: str
    provenance: Mapping[str, str]


def make_display(
    volume: Volume, masks: Mapping[str, np.ndarray], hanging: DisplayOrientation | None, *, burned_in: bool = False
) -> DisplayScan:
    """Make the scan that a page shows; of a scan with ``burned_in`` text only the map, because it may be a name."""
    shown = without_image(volume) if burned_in else volume
    display = make_radiograph_display(shown, masks, hanging == "stated") if hanging else make_ct_display(shown, masks)
    return replace(display, burned_in=burned_in)


def make_patient_page(
    result: Result,
    oof_cases: OofCases,
    model: ModelProvenance,
    identity: Mapping[str, str] | None = None,
) -> PatientPage:
    """Make the content of a case's page.

    Args:
        result: the prediction of the case.
        oof_cases: the out-of-fold cases with which it is compared.
        model: the model behind the result.
        identity: label to value; give it only if the page stays inside the hospital.
    """
    domain_check, out_of_range = oof_cases.check_domain(result.features)
    interval = oof_cases.compute_interval(result.severity.percent_involved)
    return PatientPage(
        case_id=result.case_id,
        scan=Scan(
            make_display(result.volume, result.masks, result.hanging, burned_in=result.burned_in),
            result.severity,
            interval,
        ),
        hanging=result.hanging,
        domain_check=domain_check,
        out_of_range=out_of_range,
        uncertainty_flag=oof_cases.flag_uncertainty(result.severity.uncertain_percent),
        provenance=model.provenance,
        identity=identity or {},
    )


def write_case_outputs(folder: Path, result: Result, page: PatientPage) -> None:
    """Write montage, page and, for a CT, the summary sheet into the folder of a case; all of them or none.

    If the page identifies the patient, only the user can enter the folder and read the files.
    """
    private = bool(page.identity)
    with remove_new_on_failure(folder):
        make_folder(folder, private=private)
        draw(result, folder / MONTAGE, private=private)
        if not result.hanging:
            write_bytes(folder / SHEET, make_summary_pdf(page, folder / MONTAGE), private=private)
        write_page(folder / PAGE, page)  # last, because a case with a page counts as complete


def write_dicom_results(
    folder: Path, result: Result, page: PatientPage, series: Series, model: ModelProvenance, patient: str = ""
) -> list[Path]:
    """Write ``folder/dicom`` for the PACS from which ``series`` came, and return its files.

    ``patient`` is the patient's pseudonym, by which what is measured is told again in the next study.
    """
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
    source = PredictionSource(series, model.weights, version("kicc_ml"), model.provenance, patient)
    return write_objects(source, findings, folder / DICOM)
