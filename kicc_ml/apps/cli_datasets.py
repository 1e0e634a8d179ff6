"""``kicc-ml datasets``: the public sets that are known, what of one lies in a folder, and download."""

import os
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from kicc_ml.apps.configuration import CONFIGS, build, compose_configuration, find_user_fault
from kicc_ml.cohort.public.check_set import Checked, Counted, check_files, find_tables
from kicc_ml.cohort.public.known_sets import KnownSet, known_set, known_sets, shared_with
from kicc_ml.core.shown import escape_markup, format_count, format_json, say

#: Exit status where something is missing or could not be downloaded.
INCOMPLETE = 3
PUBLIC_DATA = "KICC_DATA"

app = typer.Typer(help="List, check and download public data sets; kicc-ml datasets alone lists them.")
console = Console()

Name = Annotated[str, typer.Argument(help="name of the data set; kicc-ml datasets lists the names")]
AsJson = Annotated[bool, typer.Option("--json", help="machine-readable, to standard output")]


@app.callback(invoke_without_command=True)
def datasets(context: typer.Context, as_json: AsJson = False) -> None:
    """List the public data sets: task, hospitals, size, licence, terms, and how to get each."""
    if context.invoked_subcommand:
        return
    if as_json:
        print(format_json({known.name: _list_facts(known) for known in known_sets().values()}))
        return
    for known in known_sets().values():
        console.print(_make_facts_table(known))


@app.command()
def check(
    name: Name,
    folder: Annotated[Path, typer.Argument(help="folder that the data set was unpacked into")],
    as_json: AsJson = False,
) -> None:
    """Say which files of a data set a folder has, which are missing, and compare the counts with the published ones.

    The exit status is 0 if all is there, 3 if something is missing or damaged, and 2 if the folder has nothing of it.
    """
    known = known_set(name)
    found = check_files(known, folder)
    try:
        found = Checked(found.counts + _count_in_tables(known, folder), found.faults)
    except Exception as error:  # Hydra puts its own around that of a table
        if not (of_user := find_user_fault(error)):
            raise
        found = Checked(found.counts, (*found.faults, f"cohort={known.cohorts[0]} cannot be read: {of_user}"))
    if as_json:
        print(format_json(_convert_to_dict(known, found)))
    else:
        console.print(_make_counts_table(known, found))
        for fault in found.faults:
            say(fault)
        say(_write_in_one_line(known, folder, found))
    if not found.is_complete:
        raise typer.Exit(INCOMPLETE)


@app.command()
def get(
    name: Name,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", help="folder to write into (default: KICC_DATA/NAME if KICC_DATA is set, else NAME)"
        ),
    ] = None,
) -> None:
    """Download a data set whose archive offers a download client. Started again, it goes on where it was stopped."""
    from kicc_ml.cohort.public.get_set import client_for, download

    known = known_set(name)
    folder = out or Path(os.environ.get(PUBLIC_DATA) or ".") / known.name
    client, collection = client_for(known)
    say(f"{known.title}: {known.size}. Licence: {known.licence}; {known.terms}")
    failed = download(client, collection, folder)
    say(
        f"{known.name}: {folder}"
        + (f"; {format_count(len(failed), 'series', 'series')} not downloaded" if failed else "")
    )
    for step in known.get:
        if "kicc-ml datasets get" not in step:
            say(f"still to do by hand: {step}")
    if failed:
        raise typer.Exit(INCOMPLETE)


def _list_facts(known: KnownSet) -> dict[str, object]:
    shared = {other: why for other, why in shared_with(known.name)}
    names = ("title", "task", "hospitals", "size", "licence", "terms")
    return {
        **{name: getattr(known, name) for name in names},
        **{"get": list(known.get), "cohorts": _list_cohorts(known), "shares_patients_with": shared},
        "downloads": bool(known.idc or known.tcia),
    }


def _list_cohorts(known: KnownSet) -> list[str]:
    return [name for name in known.cohorts if (CONFIGS / "cohort" / f"{name}.yaml").is_file()]


def _make_facts_table(known: KnownSet) -> Table:
    table = Table(
        title=escape_markup(f"{known.name}: {known.title}"), title_justify="left", show_header=False, expand=True
    )
    table.add_column(width=16)
    table.add_column(ratio=1)
    rows = {
        "task": [known.task],
        "hospitals": [known.hospitals],
        "size": [known.size],
        "licence, terms": [f"{known.licence}; {known.terms}"],
        "how to get it": known.get,
        "read by": [", ".join(f"cohort={name}" for name in _list_cohorts(known)) or "no cohort of this project"],
        **{f"beside {other}": [why] for other, why in shared_with(known.name)},
    }
    for what, lines in rows.items():
        table.add_row(what, "\n".join(map(escape_markup, lines)))
    return table


def _count_in_tables(known: KnownSet, folder: Path) -> tuple[Counted, ...]:
    """Count cases, hospitals and patients with each endpoint as the set's cohort reads them, from its tables alone.

    Images beside them may be hundreds of thousands.
    """
    tables = find_tables(known, folder)
    if not known.counts or not tables or not _list_cohorts(known):
        return ()
    with TemporaryDirectory() as place:
        for table in tables:
            (Path(place) / table).parent.mkdir(parents=True, exist_ok=True)
            (Path(place) / table).symlink_to((folder / table).resolve())
        cohort = build(compose_configuration("train", [f"cohort={known.cohorts[0]}", f"cohort.root={place}"]).cohort)
    met = Counter(name for case in cohort for name, value in case.endpoints.items() if value == 1)
    found = {"cases": len(cohort), "hospitals": len({case.site for case in cohort}), **met}
    return tuple(Counted(what, found.get(what, 0), published) for what, published in known.counts.items())


def _make_counts_table(known: KnownSet, found: Checked) -> Table:
    table = Table(
        "", "here", "published", "", title=escape_markup(f"{known.name}: {known.title}"), title_justify="left"
    )
    for one in found.counts:
        table.add_row(escape_markup(one.what), f"{one.found:,}", escape_markup(one.published_in_words), one.state)
    return table


def _convert_to_dict(known: KnownSet, found: Checked) -> dict[str, object]:
    counts = {one.what: {"here": one.found, "published": one.published, "state": one.state} for one in found.counts}
    return {"name": known.name, "complete": found.is_complete, "counts": counts, "faults": list(found.faults)}


def _write_in_one_line(known: KnownSet, folder: Path, found: Checked) -> str:
    if found.is_complete:
        return f"{known.name} in {folder} is complete"
    lacking = [one.what for one in found.counts if one.state in ("missing", "partial")]
    return (
        f"{known.name} in {folder} is not complete: {', '.join([*lacking, *(['damaged files'] * bool(found.faults))])}"
    )
