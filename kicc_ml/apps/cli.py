"""``kicc-ml``: everything that is neither training nor scoring; :mod:`kicc_ml.apps.cli_runs` has what works on a run.

PyTorch and SciPy are imported by the commands that need them: they take seconds, and half of the memory in which
an index of a large repository is made.
"""

import csv
import inspect
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from kicc_ml import __version__
from kicc_ml.apps import cli_datasets, cli_federated
from kicc_ml.apps.cli_runs import bundle, compare, export, finish, predict, view
from kicc_ml.apps.cli_serve import serve
from kicc_ml.apps.configuration import build, compose_configuration, log_to_terminal, run_with_clear_errors
from kicc_ml.apps.first_screen import FIRST_SCREEN
from kicc_ml.cohort.doctor.report import examine, in_one_line
from kicc_ml.cohort.doctor.report import table as findings_table
from kicc_ml.cohort.export_table import export_masks, export_tables, read_tables
from kicc_ml.cohort.summary import summary as summarise
from kicc_ml.cohort.summary_tables import render, to_frame
from kicc_ml.core.files import whole_file, write_table, write_text
from kicc_ml.core.schemas.versions import add_version
from kicc_ml.core.shown import escape_cell, escape_json, format_count, format_json, make_printable, say
from kicc_ml.dicom.deidentify.export import READABLE, Selection, choose_series, export_series, refuse_overlap
from kicc_ml.dicom.deidentify.manifest import open_copy
from kicc_ml.dicom.index.build import read_index
from kicc_ml.dicom.index.cluster import use_cluster
from kicc_ml.dicom.index.page import render as index_page
from kicc_ml.dicom.index.summary import format_totals
from kicc_ml.dicom.index.summary import make_tables as index_tables
from kicc_ml.dicom.index.table import make_index_table
from kicc_ml.dicom.series.geometry import GeometryPolicy
from kicc_ml.dicom.series.reasons import REASONS
from kicc_ml.synthetic.presets import PRESETS

Gaps = Literal["refuse", "resample"]
Tilt = Literal["refuse", "shear"]
Modality = Literal["CT", "CXR"]

TRUE_PATHS = "show the true paths of files: they may identify patients; use inside the hospital only"

app = typer.Typer(invoke_without_command=True, pretty_exceptions_enable=False)
console = Console()


def join_lines_of_paragraphs(*apps: typer.Typer) -> None:
    """Let the terminal wrap the paragraphs of each command's help; Typer keeps the line breaks of a docstring."""
    for command in (command for each in apps for command in each.registered_commands):
        paragraphs = (inspect.getdoc(command.callback) or "").split("\n\n")
        command.help = "\n\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"kicc_ml {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and end")
    ] = False,
) -> None:
    """Deep learning for COVID-19 pneumonia over a multi-hospital DICOM repository."""
    if context.invoked_subcommand is None:
        print(FIRST_SCREEN)


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
    say(f"repository: {out}")


@app.command()
def summary(
    repository: Annotated[Path, typer.Argument(help="folder with clinical.csv and one folder per hospital")],
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable, to standard output")] = False,
    csv: Annotated[Path | None, typer.Option(help="also write the table here")] = None,
) -> None:
    """Print Table 1 of the cohort, overall and by hospital, with the number of missing values."""
    figures = summarise(repository)
    if csv:
        write_table(csv, to_frame(figures))
    if as_json:
        print(format_json(add_version("cohort_summary", figures)))
    else:
        console.print(render(figures))


@app.command()
def index(
    sources: Annotated[list[str], typer.Argument(help="folders, zip or DICOM files, addresses of DICOMweb services")],
    out: Annotated[Path | None, typer.Option(help="write the index to this parquet file")] = None,
    html: Annotated[Path | None, typer.Option(help="write the index to this HTML page")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable, to standard output")] = False,
    decode: Annotated[
        bool, typer.Option("--decode", help="also decode every image; refuse what cannot be decoded")
    ] = False,
    gaps: Annotated[Gaps, typer.Option(help="what to do with a stack that has gaps or uneven spacing")] = "refuse",
    tilt: Annotated[Tilt, typer.Option(help="what to do with a stack of a tilted gantry")] = "refuse",
    dask: Annotated[
        str, typer.Option(help="read on the Dask cluster with this scheduler, for example tcp://HOST:8786")
    ] = "",
    all_series: Annotated[bool, typer.Option("--series", help="list the series, however many there are")] = False,
    files: Annotated[bool, typer.Option("--files", help=TRUE_PATHS)] = False,
) -> None:
    """Give a verdict with reasons for each series, and for each file outside any series.

    Only headers are read, unless --decode is given. Patients, series and files are shown under pseudonyms. The cache
    folder of the user keeps what was read: unchanged files are not opened again, and an index that was stopped goes on.
    """
    with use_cluster(dask):
        found = read_index(sources, GeometryPolicy(gaps, tilt), decode=decode, cached=True)
    frame = make_index_table([replace(one, true_paths=files) for one in found])
    if out:
        with whole_file(out, private=files) as partial:
            frame.to_parquet(partial)
    if html:
        write_text(html, index_page(frame), private=files)
    if as_json:
        print(escape_json(frame.to_json(orient="records", date_format="iso", force_ascii=False, indent=1)))
        return
    for table in index_tables(frame, all_series):
        console.print(table)
    say(format_totals(frame))


@app.command()
def doctor(
    source: Annotated[str, typer.Argument(help="folder, zip file, or address of a DICOMweb service")],
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable, to standard output")] = False,
    decode: Annotated[bool, typer.Option("--decode", help="also decode every image")] = False,
    files: Annotated[bool, typer.Option("--files", help=TRUE_PATHS)] = False,
) -> None:
    """Say what a hospital should correct before it sends its data, the most serious first.

    It checks images, clinical table, privacy and quality.
    """
    found = examine(source, decode=decode, true_paths=files)
    if as_json:
        print(format_json(add_version("doctor", found.as_dict())))
        return
    if any(one.severity != "note" for one in found.findings):
        console.print(findings_table(found))
    say(in_one_line(found))


@app.command("export-dataset")
def export_dataset(
    sources: Annotated[list[str], typer.Argument(help="folders, zip or DICOM files, addresses of DICOMweb services")],
    out: Annotated[Path, typer.Option("-o", "--out", help="folder of the copy; it must lie outside every source")],
    site: Annotated[list[str] | None, typer.Option(help="copy only this hospital; may be repeated")] = None,
    modality: Annotated[Modality | None, typer.Option(help="copy only series of this kind")] = None,
    verdict: Annotated[
        list[str] | None, typer.Option(help="verdicts to copy; may be repeated (default: usable and repaired)")
    ] = None,
    secondary_captures: Annotated[
        bool,
        typer.Option(
            "--secondary-captures",
            help="also copy radiographs stored as secondary captures; look first whether they show names",
        ),
    ] = False,
) -> None:
    """Write a de-identified copy (PS3.15) of the series, masks and clinical table: a new repository.

    The copy does not identify patients. Pixel values stay exactly the same. Pictures that may show a name are left out
    and counted.

    The same command again continues an export that was stopped, and updates a copy: files that changed in the source
    are written anew, and files that may no longer be in the copy are removed.
    """
    refuse_overlap(sources, out)
    found = read_index(sources, cached=True)
    tables = read_tables(found)  # a bad table is said before anything is written
    selection = Selection(site or (), modality or "", verdict or READABLE, secondary_captures)
    chosen = choose_series(found, selection)
    with open_copy(out, [source.key for source in found]) as copy:
        exported = export_series(chosen, selection, copy)
        rows, masks = export_tables(tables, exported, copy), export_masks(exported, copy)
    if copy.removed_files:
        say(f"taken away: {format_count(copy.removed_files, 'file')} of an earlier export, no longer to be in the copy")
    for reason, count in exported.left_out.most_common():
        say(f"left out: {count} series: {REASONS[reason]}")
    counts = {"file": exported.files, "mask": masks, "patient": rows}
    parts = [f"{len(exported.written)} series", *(format_count(count, what) for what, count in counts.items())]
    said = f"{', '.join(parts)}: {out}"
    finish(said, exported.set_aside)


@app.command()
def cases(
    overrides: Annotated[
        list[str], typer.Argument(help="cohort=NAME and its settings, as for train: cohort=repository cohort.root=DIR")
    ],
    files: Annotated[
        bool,
        typer.Option("--files", help=f"print CSV with hospital and the first file of CT and radiograph; {TRUE_PATHS}"),
    ] = False,
) -> None:
    """Print the case ids of a cohort, one on each line. Use these names for predictions made elsewhere."""
    found = build(compose_configuration("train", overrides).cohort)
    if not files:
        say("\n".join(case.case_id for case in found))
        return
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["case_id", "site", "ct", "cxr"])
    for case in found:
        files_of = [str(image.files[0]) if image else "" for image in (case.ct, case.cxr)]
        table.writerow([escape_cell(make_printable(cell)) for cell in (case.case_id, case.site, *files_of)])


PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command(context_settings=PASSED_ON, add_help_option=False)
def demo(context: typer.Context) -> None:
    """Train and judge both tasks on a synthetic repository of four hospitals: kicc-ml train experiment=demo."""
    from kicc_ml.apps.train import run

    sys.argv = ["kicc-ml demo", "experiment=demo", *context.args]
    run()


@app.command(context_settings=PASSED_ON, add_help_option=False)
def train(context: typer.Context) -> None:
    """Train every fold of a split, predict its held-out cases, and write the report. The same as python train.py."""
    from kicc_ml.apps.train import run

    sys.argv = ["kicc-ml train", *context.args]
    run()


@app.command(context_settings=PASSED_ON, add_help_option=False)
def evaluate(context: typer.Context) -> None:
    """Score a run, or predictions made elsewhere, and write the report. The same as python evaluate.py."""
    from kicc_ml.apps.evaluate import run

    sys.argv = ["kicc-ml evaluate", *context.args]
    run()


app.add_typer(cli_datasets.app, name="datasets")
app.add_typer(cli_federated.app, name="federated")
for command in (predict, view, compare, export, bundle, serve):
    app.command()(command)
join_lines_of_paragraphs(app, cli_datasets.app, cli_federated.app)


def main() -> None:
    """Run the command line: what the user can mend is one message and exit status 2."""
    log_to_terminal("%(levelname)s: %(message)s")
    run_with_clear_errors(app)
