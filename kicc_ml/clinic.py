"""What becomes of the scans of a hospital that asks: refused in plain words, or delivered with a word on trust."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from kicc_ml.deliver import DICOM, PAGE, HeldOut, Model, Result, deliver, deliver_dicom, patient_page
from kicc_ml.dicom.identified import identity_of
from kicc_ml.dicom.image_files import NIFTI_SUFFIXES, read_mask
from kicc_ml.dicom.volume import read_volume
from kicc_ml.dicom.web import push as send
from kicc_ml.page.listing import Entry, write_listing
from kicc_ml.page.page import write_page
from kicc_ml.predict import REGION_SUFFIX, SEVERITY_FILE, read_severity
from kicc_ml.progress import track
from kicc_ml.records import Case, Series, UserError
from kicc_ml.runs import PREDICTIONS, WEIGHTS, Fold
from kicc_ml.trust import check_hounsfield, check_lungs

logger = logging.getLogger(__name__)

CASES = "cases.csv"
LISTING = "index.html"


@dataclass(frozen=True)
class Clinic:
    """Finishes a new scan: checks it, then writes its page and DICOM for its PACS, as far as asked.

    ``identified`` prints name, ID and study date, for use inside the hospital. ``push`` is the address of a
    DICOMweb service that takes the objects.
    """

    held_out: HeldOut
    model: Model
    report: bool = False
    dicom: bool = False
    identified: bool = False
    push: str = ""

    @property
    def keeps_probability(self) -> bool:
        return self.dicom

    def is_whole(self, series: Series, folder: Path) -> bool:
        wanted = [PAGE] * (self.report or self.dicom) + [DICOM] * (self.dicom and _is_dicom(series))
        return all((folder / name).exists() for name in wanted)

    def __call__(self, series: Series, result: Result, folder: Path) -> None:
        """Raises NotForThisModel for values that are no HU and for a scan without lungs."""
        if result.volume.units == "hu":
            check_hounsfield(result.volume)
        check_lungs(result.severity.lung_ml)
        if not (self.report or self.dicom):
            return
        identity = identity_of(series.files[0]) if self.identified and _is_dicom(series) else {}
        page = patient_page(result, self.held_out, self.model, identity)
        deliver(folder, result, page)
        if self.dicom and not _is_dicom(series):
            logger.warning("%s is no DICOM: there is no study its results could be returned to", result.case_id)
        elif self.dicom:
            written = deliver_dicom(folder, result, page, series, self.model)
            if self.push:
                send(self.push, written)


def _is_dicom(series: Series) -> bool:
    return not series.files[0].name.lower().endswith(NIFTI_SUFFIXES)


@dataclass(frozen=True)
class HeldOutCase:
    """A case of a run as the fold predicted it that held its hospital out, from the files of that prediction."""

    case: Case
    folder: Path

    def result(self) -> Result:
        """Raises UserError where the scan can no longer be read."""
        assert self.case.ct is not None
        masks = {
            path.name.removesuffix(REGION_SUFFIX): read_mask(path)[0] for path in self.folder.glob(f"*{REGION_SUFFIX}")
        }
        return Result(self.case.case_id, read_volume(self.case.ct), masks, read_severity(self.folder))

    def write_page(self, held_out: HeldOut, model: Model) -> None:
        """The page, judged by the other hospitals alone."""
        page = patient_page(self.result(), held_out.without(self.case.site), model)
        write_page(self.folder / PAGE, page)

    def write_dicom(self, held_out: HeldOut, model: Model) -> list[Path]:
        """Page, sheet and DICOM; without a Parametric Map, since a run keeps masks and no probabilities."""
        assert self.case.ct is not None
        result = self.result()
        page = patient_page(result, held_out.without(self.case.site), model)
        deliver(self.folder, result, page)
        return deliver_dicom(self.folder, result, page, self.case.ct, model)


def export_run(
    folds: Sequence[Fold], cases: Mapping[str, Case], held_out: HeldOut, push: str
) -> tuple[int, dict[str, str]]:
    """DICOM of every held-out CT of a run's folds; how many were written, and why the others were not."""
    written, set_aside = 0, {}
    for fold in folds:
        model = model_of([fold], held_out)
        rows = pd.read_csv(fold.folder / PREDICTIONS, dtype={"case_id": str})
        for case_id in track(rows["case_id"].tolist(), description=f"export {fold.folder.name}"):
            held = HeldOutCase(cases[case_id], fold.folder.parent / "severity" / case_id)
            try:
                objects = held.write_dicom(held_out, model)
                if push:
                    send(push, objects)
            except Exception as error:  # foreign headers fail in many ways, and one must not stop hundreds
                set_aside[case_id] = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
                continue
            written += 1
    return written, set_aside


def held_out_of(run: Path) -> HeldOut:
    """The held-out cases of a run that was evaluated (its ``cases.csv``); empty for one fold or without."""
    path = run / CASES
    return HeldOut(pd.read_csv(path) if path.is_file() else pd.DataFrame())


def model_of(folds: Sequence[Fold], held_out: HeldOut) -> Model:
    """The model of a run: a hash over the weights of its folds, its training hospitals and how it was validated."""
    digest = hashlib.sha256()
    for fold in folds:
        digest.update((fold.folder / WEIGHTS).read_bytes())
    sites = sorted({site for fold in folds for site in fold.about.sites})
    provenance = {
        "software": f"kicc_ml {version('kicc_ml')}",
        "run": f"{folds[0].folder.parent.name}, {len(folds)} model{'s' if len(folds) > 1 else ''}",
        "weights (SHA-256)": digest.hexdigest()[:16],
        "training hospitals": ", ".join(sites),
        "validation": _validation(held_out.rows),
    }
    return Model(digest.hexdigest(), provenance)


def _validation(rows: pd.DataFrame) -> str:
    """What the run's held-out cases say, in a sentence."""
    if "lesion_dice" not in rows or rows["lesion_dice"].isna().all():
        return "none beside these weights"
    said = [f"lesion Dice {rows['lesion_dice'].mean():.2f}"]
    if {"severity_score", "severity_score_truth"} <= set(rows):
        known = rows.dropna(subset=["severity_score", "severity_score_truth"])
        off = (known["severity_score"] - known["severity_score_truth"]).abs()
        said.append(f"score within 2 points in {100 * (off <= 2).mean():.0f} %")
    return f"{', '.join(said)} ({len(rows)} scans of {rows['site'].nunique()} hospitals, each held out)"


def list_patients(out: Path) -> Path:
    """Write the list of all patients of a folder of predictions (or of a run), worst first; returns its path.

    Raises UserError where there is no prediction.
    """
    folders = sorted(path.parent for path in out.rglob(SEVERITY_FILE))
    if not folders:
        raise UserError(f"{out} holds no prediction (no {SEVERITY_FILE}); run kicc-ml predict, or give a run folder")
    return write_listing(out / LISTING, [_entry(folder, out) for folder in folders])


def _entry(folder: Path, out: Path) -> Entry:
    page = folder / PAGE
    return Entry(folder.name, read_severity(folder), page.relative_to(out).as_posix() if page.is_file() else "")
