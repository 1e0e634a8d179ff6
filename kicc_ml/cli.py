"""``kicc-ml``: everything that is neither training nor scoring.

PyTorch and SciPy are imported by the commands that need them: they take seconds, and half of the memory in which
an index of a large repository is made.
"""

import csv
import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from kicc_ml.data.doctor import examine, in_one_line
from kicc_ml.data.doctor import table as findings_table
from kicc_ml.data.export_table import export_masks, export_tables, read_tables
from kicc_ml.data.summary import summary as summarise
from kicc_ml.data.summary_tables import render, to_frame
from kicc_ml.dicom.cluster import on_cluster
from kicc_ml.dicom.export_dataset import READABLE, Selection, export_series, refuse_overlap
from kicc_ml.dicom.geometry import GeometryPolicy
from kicc_ml.dicom.index import read_index
from kicc_ml.dicom.index_frame import frame_of
from kicc_ml.dicom.index_report import render as index_page
from kicc_ml.dicom.index_summary import last_line
from kicc_ml.dicom.index_summary import tables as index_tables
from kicc_ml.dicom.reasons import REASONS
from kicc_ml.dicom.sources import scans_at
from kicc_ml.launch import build, configuration, with_clear_errors
from kicc_ml.records import UserError, by_id
from kicc_ml.synthetic.presets import PRESETS

Gaps = Literal["refuse", "resample"]
Tilt = Literal["refuse", "shear"]
Modality = Literal["CT", "CXR"]

HELP = "Everything that is neither training nor scoring."

app = typer.Typer(no_args_is_help=True, add_completion=False, help=HELP, pretty_exceptions_enable=False)
console = Console()


@app.command()
def synthesize(
    out: Annotated[Path, typer.Argument(help="folder to write the repository into")],
    preset: Annotated[str, typer.Option(help=" or ".join(PRESETS))] = "demo",
    seed: Annotated[int, typer.Option(help="same seed, same repository")] = 1,
    tables_only: Annotated[bool, typer.Option("--tables-only", help="clinical.csv and truth, no images")] = False,
    sites: Annotated[int | None, typer.Option(help="number of hospitals")] = None,
    patients: Annotated[int | None, typer.Option(help="number of patients")] = None,
    matrix: Annotated[int | None, typer.Option(help="CT columns and rows")] = None,
    slices: Annotated[int | None, typer.Option(help="CT slices")] = None,
) -> None:
    """Write a synthetic KICC-19: DICOM in one folder per hospital, masks, and clinical.csv."""
    from kicc_ml.synthetic.repository import synthesize as write_repository

    write_repository(
        out,
        preset,
        seed,
        tables_only=tables_only,
        sites=sites,
        patients=patients,
        matrix=matrix,
        slices=slices,
    )
    print(f"repository: {out}")


@app.command()
def summary(
    repository: Annotated[Path, typer.Argument(help="folder with clinical.csv and one folder per hospital")],
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable, to standard output")] = False,
    csv: Annotated[Path | None, typer.Option(help="also write the table here")] = None,
) -> None:
    """The cohort's Table 1, overall and by hospital, with what is missing."""
    figures = summarise(repository)
    if csv:
        from kicc_ml.runs import write_table

        write_table(csv, to_frame(figures))
    if as_json:
        print(json.dumps(figures, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        console.print(render(figures))


@app.command()
def index(
    sources: Annotated[list[str], typer.Argument(help="folders, zip or DICOM files, addresses of DICOMweb services")],
    out: Annotated[Path | None, typer.Option(help="write the index as parquet")] = None,
    html: Annotated[Path | None, typer.Option(help="write the index as a page")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable, to standard output")] = False,
    decode: Annotated[bool, typer.Option("--decode", help="decode every image too; what fails is refused")] = False,
    gaps: Annotated[Gaps, typer.Option(help="what becomes of a stack with gaps or uneven spacing")] = "refuse",
    tilt: Annotated[Tilt, typer.Option(help="what becomes of a stack of a tilted gantry")] = "refuse",
    dask: Annotated[str, typer.Option(help="scheduler of a Dask cluster to read on, as tcp://HOST:8786")] = "",
    all_series: Annotated[bool, typer.Option("--series", help="list the series, however many there are")] = False,
) -> None:
    """A verdict with reasons for each series, and for each file that is in none.

    Headers only, unless --decode is given. What was read is kept in the user's cache folder (pseudonyms only), so
    that unchanged files are not opened again and a stopped scan goes on.
    """
    with on_cluster(dask):
        found = read_index(sources, GeometryPolicy(gaps, tilt), decode=decode, cached=True)
    frame = frame_of(found)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(out)
    if html:
        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(index_page(frame), encoding="utf-8")
    if as_json:
        print(frame.to_json(orient="records", date_format="iso", force_ascii=False, indent=1))
        return
    for table in index_tables(frame, all_series):
        console.print(table)
    console.print(last_line(frame))


@app.command()
def doctor(
    source: Annotated[str, typer.Argument(help="folder, zip file, or address of a DICOMweb service")],
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable, to standard output")] = False,
    decode: Annotated[bool, typer.Option("--decode", help="decode every image too")] = False,
) -> None:
    """What a hospital should mend before it sends its data, worst first: images, clinical table, privacy, quality."""
    found = examine(source, decode=decode)
    if as_json:
        print(json.dumps(found.as_dict(), indent=1, ensure_ascii=False, allow_nan=False))
        return
    if any(one.severity != "note" for one in found.findings):
        console.print(findings_table(found))
    print(in_one_line(found))


@app.command("export-dataset")
def export_dataset(
    sources: Annotated[list[str], typer.Argument(help="folders, zip or DICOM files, addresses of DICOMweb services")],
    out: Annotated[Path, typer.Option("-o", "--out", help="folder of the copy, outside every source")],
    site: Annotated[list[str] | None, typer.Option(help="only this hospital; may be given again")] = None,
    modality: Annotated[Modality | None, typer.Option(help="only series of this kind")] = None,
    verdict: Annotated[
        list[str] | None, typer.Option(help="instead of usable and repaired; may be given again")
    ] = None,
    secondary_captures: Annotated[
        bool, typer.Option("--secondary-captures", help="radiographs stored as such too; look at them for names first")
    ] = False,
) -> None:
    """Write a de-identified copy of the series (PS3.15), their masks and clinical table: a repository of its own.

    Pixel data are copied byte for byte. Pictures that may show a name are left out and counted. A stopped export
    goes on with the same command.
    """
    refuse_overlap(sources, out)
    found = read_index(sources, cached=True)
    tables = read_tables(found)  # a bad table is said before anything is written
    selection = Selection(site or (), modality or "", verdict or READABLE, secondary_captures)
    exported = export_series(found, selection, out)
    rows, masks = export_tables(tables, exported, out), export_masks(exported, out)
    for reason, count in exported.left_out.most_common():
        console.print(f"left out: {count} series: {REASONS[reason]}", markup=False)
    for name, fault in exported.set_aside.items():
        console.print(f"set aside: {name}: {fault}", markup=False)
    print(f"{len(exported.written)} series, {exported.files} files, {masks} masks, {rows} patients: {out}")
    raise typer.Exit(3 if exported.set_aside else 0)


@app.command()
def cases(
    overrides: Annotated[list[str], typer.Argument(help="cohort=NAME and its settings, as for train.py")],
    files: Annotated[
        bool, typer.Option("--files", help="as CSV, with the hospital and the first file of CT and radiograph")
    ] = False,
) -> None:
    """The case ids of a cohort, one a line: what predictions made elsewhere are named by."""
    found = build(configuration("train", overrides).cohort)
    if not files:
        print("\n".join(case.case_id for case in found))
        return
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["case_id", "site", "ct", "cxr"])
    for case in found:
        table.writerow([case.case_id, case.site, *(image.files[0] if image else "" for image in (case.ct, case.cxr))])


@app.command()
def predict(
    source: Annotated[
        str, typer.Option("-i", help="NIfTI, DICOM folder or zip, a folder of these, a DICOMweb address")
    ],
    out: Annotated[Path, typer.Option("-o", help="results, one folder per case")],
    run: Annotated[Path, typer.Option(help="run folder: one fold, or all of them as an ensemble")],
    device: Annotated[str, typer.Option(help="where the network runs, as cuda or cuda:1")] = "cpu",
    fast: Annotated[
        bool, typer.Option("--fast", help="leave mirror images out: half the time, a little worse")
    ] = False,
    report: Annotated[bool, typer.Option("--report", help="also a page, a montage and a sheet for each scan")] = False,
    dicom: Annotated[
        bool, typer.Option("--dicom", help="also SEG, Parametric Map, SR, picture, PDF; of a radiograph SR, picture")
    ] = False,
    push: Annotated[str, typer.Option(help="store these in the DICOMweb service at this address")] = "",
    identified: Annotated[
        bool,
        typer.Option("--identified", help="name, ID and study date on page and sheet, for use inside the hospital"),
    ] = False,
    outcome_run: Annotated[Path | None, typer.Option(help="run folder of an outcome experiment: risks too")] = None,
    clinical: Annotated[
        Path | None, typer.Option(help="clinical table for these, with the columns site and patient_id")
    ] = None,
) -> None:
    """Masks on each scan's own grid, severity.json and predictions.csv. Taken up again where it was stopped."""
    from kicc_ml.clinic import Clinic, outcomes_of, risk_table
    from kicc_ml.held_out import held_out_of, model_of, with_outcome
    from kicc_ml.history import earliest_first
    from kicc_ml.predict import predict_series, segmenter_of
    from kicc_ml.progress import Stages
    from kicc_ml.runs import PREDICTIONS, fold_folders, load_fold, write_table

    folds = [load_fold(folder) for folder in fold_folders(run)]
    segmenter = segmenter_of(folds, device, fast=fast)
    held_out = held_out_of(run)
    model, outcomes = model_of(folds, held_out), outcomes_of(outcome_run, clinical)
    model = with_outcome(model, outcomes.model.folds) if outcomes else model
    modality = segmenter.canonical.modality
    with (intake := Stages())("intake"):
        series = earliest_first(scans_at(source, segmenter.units, segmenter.spacing_known, modality))
    pages, objects, intake_s = report or identified, dicom or bool(push), intake.seconds["intake"] / len(series)
    clinic = Clinic(held_out, model, pages, objects, identified, push, outcomes, series, intake_s)
    out.mkdir(parents=True, exist_ok=True)
    rows, quarantined = predict_series(segmenter, series, out, clinic)
    write_table(out / PREDICTIONS, rows)
    if outcomes:
        write_table(out / "outcomes.csv", risk_table(out))
    for case_id, reason in quarantined.items():
        console.print(f"set aside: {case_id}: {reason}", markup=False)
    print(f"{len(rows)} predicted: {out / PREDICTIONS}")
    raise typer.Exit(3 if quarantined else 0)


@app.command()
def view(
    out: Annotated[Path, typer.Argument(help="folder of predictions, or of a run")],
    browse: Annotated[bool, typer.Option("--browse/--no-browse", help="open the list in the browser")] = True,
) -> None:
    """All patients of a folder on one page, worst first, each with a link to its own page."""
    from kicc_ml.clinic import list_patients

    listing = list_patients(out)
    if browse:
        typer.launch(listing.resolve().as_uri())
    print(f"patients: {listing}")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="run folders, two or more, that were evaluated")],
) -> None:
    """Runs set side by side on the same held-out cases: paired differences of AUC and of lesion Dice, by Holm."""
    from kicc_ml.evaluation.comparison import compare_runs
    from kicc_ml.evaluation.terminal import comparison_table
    from kicc_ml.runs import held_out_tables

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
    console.print(comparison_table(rows))


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="run folder with held-out predictions")],
    push: Annotated[str, typer.Option(help="store the objects in the DICOMweb service at this address")] = "",
    outcome_run: Annotated[
        Path | None, typer.Option(help="outcome run on the same cohort: its held-out risks too")
    ] = None,
) -> None:
    """Write what a run predicted of its own hospitals as DICOM, beside each case's masks: SEG, SR, picture and PDF, of
    radiographs SR and picture.
    """
    from kicc_ml.held_out import export_run, held_out_of
    from kicc_ml.risk import OutcomeRecord, outcome_record
    from kicc_ml.runs import fold_folders, load_fold

    folds = [load_fold(folder) for folder in fold_folders(run)]
    cases = by_id(build(folds[0].config["cohort"]))
    outcomes = outcome_record(outcome_run) if outcome_run else OutcomeRecord()
    written, set_aside = export_run(folds, cases, held_out_of(run), outcomes, push)
    for case_id, reason in set_aside.items():
        console.print(f"set aside: {case_id}: {reason}", markup=False)
    print(f"{written} cases: {run / 'severity'}/<case>/dicom")
    raise typer.Exit(3 if set_aside else 0)


def main() -> None:
    """Run the command line: what the user can mend is one message and exit status 2."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    with_clear_errors(app)
