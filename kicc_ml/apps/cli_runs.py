"""The commands of ``kicc-ml`` that work on what was trained or predicted; imports as in :mod:`kicc_ml.apps.cli`."""

import shlex
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from kicc_ml.core.errors import UserError
from kicc_ml.core.shown import format_count, say
from kicc_ml.core.types import index_by_id
from kicc_ml.dicom.index.sources import Scans, find_scans

if TYPE_CHECKING:
    from kicc_ml.clinic.new_scan import NewScanPipeline
    from kicc_ml.models.segmenter import Segmenter

Source = Annotated[
    str,
    typer.Option(
        "-i",
        help="NIfTI, DICOM folder or zip, a folder of these, or a DICOMweb address; "
        "leave out to predict from --clinical alone",
    ),
]
Results = Annotated[Path, typer.Option("-o", help="folder of the results; one folder per case in it")]
Run = Annotated[Path, typer.Option(help="run folder: one fold, or all of them as an ensemble")]
Device = Annotated[str, typer.Option(help="where the network runs: auto (all GPUs, else cpu), cpu, cuda, cuda:1")]
Fast = Annotated[
    bool, typer.Option("--fast", help="skip test-time mirroring: about half the time, slightly worse masks")
]
Report = Annotated[bool, typer.Option("--report", help="also write a page, a montage and a sheet for each scan")]
Dicom = Annotated[
    bool,
    typer.Option(
        "--dicom",
        help="also write SEG, Parametric Map, SR, picture and PDF (of a radiograph SR and picture); "
        "these files show the patient's identity",
    ),
]
Push = Annotated[str, typer.Option(help="make the DICOM files and store them in the DICOMweb service at this address")]
Identified = Annotated[
    bool,
    typer.Option(
        "--identified",
        help="show name, ID and study date on page and sheet; these files then show the patient's identity",
    ),
]
OutcomeRun = Annotated[
    Path | None, typer.Option(help="also predict risks, with this run folder of an outcome experiment")
]
Table = Annotated[
    Path | None,
    typer.Option(
        help="clinical table of these patients: columns site and patient_id, or the layout of AIforCOVID "
        "or COVID-19-NY-SBU"
    ),
]
ScoreRun = Annotated[
    Path | None, typer.Option(help="also give radiographs a radiologist's scores, with this run folder of severity_cxr")
]
TrainedRun = Annotated[Path, typer.Argument(help="run folder: one fold, or all of them as an ensemble")]
Bundle = Annotated[Path, typer.Option("-o", help="folder of the bundle, which must not exist")]
HeldOutRun = Annotated[Path, typer.Argument(help="run folder with held-out predictions")]
Private = Annotated[
    Path, typer.Option("-o", help="folder for the DICOM files, outside the run folder; closed to other users")
]
SameCohort = Annotated[
    Path | None, typer.Option(help="also write held-out risks, from this outcome run on the same cohort")
]
Root = Annotated[Path | None, typer.Option(help="folder of the run's cohort; needed if the run was not trained here")]
Trust = Annotated[
    list[str] | None,
    typer.Option(
        help="allow the run to use this Python package, such as --trust mylab; only packages you trust; may be repeated"
    ),
]

#: Said after whatever wrote files that are not for others.
IDENTIFIES = "{out} holds files that identify patients (name, number, dates): keep them inside the hospital"
LOCK = ".kicc-export.lock"
#: Risks of all patients of a folder of results.
OUTCOMES = "outcomes.csv"

console = Console()


def predict(
    out: Results,
    run: Run,
    source: Source = "",
    device: Device = "auto",
    fast: Fast = False,
    report: Report = False,
    dicom: Dicom = False,
    push: Push = "",
    identified: Identified = False,
    outcome_run: OutcomeRun = None,
    clinical: Table = None,
    score_run: ScoreRun = None,
    trust: Trust = None,
) -> None:
    """Predict new scans: masks on each scan's own grid, severity.json and predictions.csv.

    Started again, it goes on where it was stopped. Without -i an outcome run predicts the patients of the table
    (--clinical) without images, and writes outcomes.csv.

    The results do not identify patients, unless file names of NIfTI do. With --dicom, --push or --identified, the
    results contain files that identify patients.
    """
    if not source:
        return _predict_table(outcome_run or run, clinical, out, trust or ())
    from kicc_ml.clinic.loaded_runs import RunChoice, load_runs
    from kicc_ml.prediction.several_devices import copy_to_devices, list_further_devices
    from kicc_ml.runs.start_line import describe_prediction

    runs = load_runs(RunChoice(run, outcome_run, clinical, score_run, tuple(trust or ()), device, fast))
    segmenter = runs.segmenter
    series, intake_s = _find_scans(source, segmenter)
    clinic = runs.make_pipeline(
        series,
        pages=report or identified,
        dicom=dicom or bool(push),
        identified=identified,
        push=push,
        intake_s=intake_s,
    )
    say(f"predict {format_count(len(series), 'scan')}: {describe_prediction(segmenter)}", to_stderr=True)
    _say_model_cards(run, outcome_run, score_run)
    copies = copy_to_devices(segmenter, list_further_devices(device), len(series))
    _predict([segmenter, *copies], clinic, out, series.set_aside)


def _say_model_cards(*runs: Path | None) -> None:
    """Say where the model card of each run lies that predicts, or how it is written."""
    from kicc_ml.runs.folder import find_model_card

    for run in filter(None, runs):
        card = find_model_card(run)
        say(f"model card: {card or f'none yet; python evaluate.py runs={run} writes it'}", to_stderr=True)


def _predict_table(run: Path, table: Path | None, out: Path, trust: Collection[str] = ()) -> None:
    """Predict the patients of a table without images, write their risks, and end."""
    from kicc_ml.cohort.patient_table import read_table_cases
    from kicc_ml.core.files import make_folder, write_table
    from kicc_ml.core.locks import hold
    from kicc_ml.prediction.new_patient import outcome_model
    from kicc_ml.prediction.table_patients import predict_table

    if table is None:
        raise UserError("say whom to predict: scans with -i SOURCE, or the patients of a table with --clinical TABLE")
    model, cases = outcome_model(run, trust), list(index_by_id(read_table_cases(table)).values())
    _say_model_cards(run)
    with hold(make_folder(out) / ".lock", f"the folder of results {out}"):
        rows, without = predict_table(model, cases)
        write_table(out / OUTCOMES, rows)
    finish(f"{format_count(len(cases) - len(without), 'patient')} predicted: {out / OUTCOMES}", without)


def _find_scans(source: str, segmenter: "Segmenter") -> tuple[Scans, float]:
    """Find the scans of a source, earliest first, and the seconds in which each was found and judged."""
    from kicc_ml.clinic.prior_studies import sort_earliest_first
    from kicc_ml.core.progress import StageTimer

    modality = segmenter.canonical.modality
    with (intake := StageTimer())("intake"):
        found = find_scans(source, segmenter.units, segmenter.spacing_known, modality)
    return Scans(sort_earliest_first(found), found.set_aside), intake.seconds["intake"] / len(found)


def _predict(
    segmenters: "Sequence[Segmenter]", clinic: "NewScanPipeline", out: Path, refused: Mapping[str, str]
) -> None:
    """Predict the scans of a clinic, one device for each segmenter, write the tables of all, and end."""
    from kicc_ml.clinic.new_scan import make_risk_table
    from kicc_ml.clinic.outputs import DICOM
    from kicc_ml.clinic.prior_studies import check_stamp_keys
    from kicc_ml.core.files import make_folder, write_table
    from kicc_ml.core.locks import hold
    from kicc_ml.prediction.segmentation import predict_series
    from kicc_ml.runs.folder import PREDICTIONS

    with hold(make_folder(out) / ".lock", f"the folder of results {out}"):
        check_stamp_keys(out)
        rows, set_aside = predict_series(segmenters[0], clinic.scans, out, clinic, copies=segmenters[1:])
        write_table(out / PREDICTIONS, rows)
        if clinic.outcomes:
            write_table(out / OUTCOMES, make_risk_table(out))
    if clinic.identified or any(out.glob(f"*/{DICOM}")):
        say(IDENTIFIES.format(out=out))
    set_aside = {**refused, **set_aside, **clinic.without_objects}
    look = f"; look at them with: kicc-ml view {shlex.quote(str(out))}" if len(rows) else ""
    finish(f"{len(rows)} predicted: {out / PREDICTIONS}{look}", set_aside)


def view(
    out: Annotated[Path, typer.Argument(help="folder of predictions, or of a run")],
    browse: Annotated[bool, typer.Option("--browse/--no-browse", help="open the list in the browser")] = True,
) -> None:
    """List all patients of a folder on one page, the most severe first, each with a link to its own page."""
    from kicc_ml.clinic.new_scan import list_patients

    listing = list_patients(out)
    if browse:
        _open_in_browser(listing.resolve().as_uri())
    say(f"patients: {listing}")


def _open_in_browser(address: str) -> None:
    """Open an address in the browser of the desktop; where there is none, nothing is said of it."""
    if opener := shutil.which("xdg-open"):  # typer.launch would print its complaints, and let it take the terminal
        Popen([opener, address], stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True)
    else:
        typer.launch(address)


def compare(
    runs: Annotated[list[Path], typer.Argument(help="two or more run folders that were evaluated")],
) -> None:
    """Compare runs on the same held-out cases: paired differences of AUC and lesion Dice, p-values by Holm."""
    from kicc_ml.evaluation.comparison import compare_runs
    from kicc_ml.report.terminal import make_comparison_table
    from kicc_ml.runs.tables import held_out_tables

    if len({str(run) for run in runs}) < 2:
        raise UserError("one run cannot be compared; give two run folders or more")
    tables = {str(run): held_out_tables(run) for run in runs}
    rows = compare_runs(
        {run: table[0] for run, table in tables.items()}, {run: table[1] for run, table in tables.items()}
    )
    if not rows:
        raise UserError(
            "the runs have neither endpoints nor lesions in common; evaluate them: python evaluate.py runs=RUN"
        )
    console.print(make_comparison_table(rows))


def export(
    run: HeldOutRun,
    out: Private,
    push: Push = "",
    outcome_run: SameCohort = None,
    root: Root = None,
    trust: Trust = None,
) -> None:
    """Write a run's held-out predictions as DICOM: SEG, SR, picture and PDF; of radiographs SR and picture.

    These files are for the archives of the hospitals of the run. They identify patients, so they must lie outside the
    run folder.
    """
    from kicc_ml.clinic.held_out_case import export_run, make_private_folder, read_oof_cases
    from kicc_ml.core.locks import hold
    from kicc_ml.prediction.risk import OutcomeRecord, outcome_record
    from kicc_ml.runs.folder import load_folds
    from kicc_ml.runs.run_cohort import RunCohort

    folds = load_folds(run, trust or ())
    cohort = RunCohort(root, trust=tuple(trust or ()))
    cases = index_by_id(cohort.read(folds[0].settings, folds[0].folder.parent))
    outcomes = outcome_record(outcome_run) if outcome_run else OutcomeRecord()
    make_private_folder(out, folds[0].folder.parent)
    with hold(out / LOCK, f"the folder {out}"):
        written, set_aside = export_run(folds, cases, read_oof_cases(run), outcomes, out, push)
    say(IDENTIFIES.format(out=out))
    finish(f"{format_count(written, 'case')}: {out}/<case>/dicom", set_aside)


def bundle(
    run: TrainedRun,
    out: Bundle,
    trust: Trust = None,
) -> None:
    """Write a segmentation run as a bundle of MONAI, which predicts where this program is not installed.

    The bundle has the networks and the code that they need; it names no patient and no hospital. With the extra onnx it
    has the networks as ONNX too, where they can be written as that.
    """
    from kicc_ml.prediction.bundle.onnx_file import write_onnx
    from kicc_ml.prediction.bundle.write import write_bundle
    from kicc_ml.runs.folder import load_folds

    folds = load_folds(run, trust or ())
    write_bundle(folds, out)
    say(write_onnx(folds, out))
    say(f"bundle: {out}")


def finish(said: str, set_aside: Mapping[str, str]) -> None:
    """Name what was set aside and why, say what came of the rest, and end: with status 3 where something was."""
    for name, reason in set_aside.items():
        say(f"set aside: {name}: {reason}")
    say(said)
    raise typer.Exit(3 if set_aside else 0)
