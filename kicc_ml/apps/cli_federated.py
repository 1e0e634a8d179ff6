"""``kicc-ml federated``: hospitals train together, and their images and tables stay at home."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kicc_ml.apps.cli_runs import finish
from kicc_ml.core.errors import UserError
from kicc_ml.core.files import make_folder, write_table
from kicc_ml.core.help_pages import EXTRAS
from kicc_ml.core.path_names import resolve_subfolder
from kicc_ml.core.schemas.versions import read_versioned, write_versioned
from kicc_ml.core.shown import escape_formulas, format_count, say

if TYPE_CHECKING:
    from kicc_ml.federated.jobs import Federation
    from kicc_ml.federated.plan import Plan

#: The file of all results; a second start takes up what it holds.
RESULTS = "federated.json"
#: Minutes of thirty days.
MOST_MINUTES = 43_200

app = typer.Typer(help="Train at several hospitals whose images and tables stay at home, over NVFlare.")

Kit = Annotated[Path, typer.Argument(help="a folder that provision made, as it was handed to you")]


@app.callback()
def require_library() -> None:
    """Train at several hospitals whose images and tables stay at home, over NVFlare."""
    if find_spec("nvflare") is None:
        raise UserError(
            "kicc-ml federated needs nvflare; install it with: pip install 'kicc_ml[federated]'", page=EXTRAS
        )


@app.command()
def provision(
    out: Annotated[Path, typer.Argument(help="folder for the kits and the key of their authority; keep it closed")],
    server: Annotated[str, typer.Option(help="host name under which hospitals reach the server")],
    site: Annotated[list[str], typer.Option(help="name of a hospital; repeat for each")],
    port: Annotated[int, typer.Option(help="the one port of the server")] = 8002,
    days: Annotated[int, typer.Option(help="how long the authority of the certificates is valid")] = 360,
) -> None:
    """Make a startup kit for the server, each hospital and the researcher, with their certificates.

    Hand each kit to its owner alone. The same command with one more --site makes new kits of the same authority.
    """
    from kicc_ml.federated.kits import provision as make_kits

    for name, kit in make_kits(out, server, port, site, days).items():
        say(f"{name}: {kit}")


@app.command()
def join(
    kit: Kit,
    repository: Annotated[
        Path | None, typer.Option(help="of a hospital: its own folder of DICOM files with its clinical.csv")
    ] = None,
    store: Annotated[Path | None, typer.Option(help="folder of prepared volumes (default: store in the kit)")] = None,
) -> None:
    """Take part as the server or the hospital whose kit it is, until the process is ended.

    Nothing of the repository leaves the hospital but sums, weights and figures; counts under 5 are withheld.
    """
    from kicc_ml.federated.joining import prepare_kit, run_kit

    prepare_kit(kit, repository, store)
    run_kit(kit)


@app.command()
def run(
    kit: Kit,
    out: Annotated[Path, typer.Option("-o", "--out", help="folder for the results")],
    task: Annotated[Literal["outcome", "lesion_ct"], typer.Option(help="what is learnt")] = "outcome",
    held_out: Annotated[
        list[str] | None, typer.Option(help="hospital to hold out; may be repeated (default: each in turn)")
    ] = None,
    rounds: Annotated[int, typer.Option(help="how often weights are averaged")] = 3,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE of the plan (docs/federated.md); may be repeated")
    ] = None,
    minutes: Annotated[float, typer.Option(help="how long a hospital may take for one answer")] = 60.0,
    least: Annotated[int, typer.Option(min=2, help="hospitals that must answer, else the fold fails")] = 2,
) -> None:
    """Train leave-one-site-out: each held-out hospital is no part of its training, and judges the network at home."""
    from kicc_ml.federated.jobs import open_federation
    from kicc_ml.federated.plan import parse_plan
    from kicc_ml.federated.settings import parse_settings

    plan = parse_plan({**parse_settings(setting or []), "task": task, "rounds": rounds})
    with open_federation(kit, compute_seconds(minutes), least) as federation:
        run_folds(federation, plan, held_out or [], make_folder(out))


def compute_seconds(minutes: float) -> int:
    """Compute the seconds of ``--minutes``.

    Args:
        minutes: as typed.

    Raises:
        UserError: it is no time, such as nan, or one that nobody waits for.
    """
    if not 0.1 <= minutes <= MOST_MINUTES:
        raise UserError(f"--minutes {minutes} is not between 0.1 and {MOST_MINUTES}")
    return round(minutes * 60)


def run_folds(federation: "Federation", plan: "Plan", held_out: list[str], out: Path) -> None:
    """Collect Table 1, train and judge each fold, and combine what the hospitals found.

    A fold that fails is set aside, the others go on; the exit status is then 3. A second start goes on after the last
    finished fold.

    Args:
        federation: the server.
        plan: the training.
        held_out: the hospitals to hold out; each in turn if there is none.
        out: the folder for the results.

    Raises:
        UserError: a hospital is not connected, too few are or stated their sums, or every fold failed.
    """
    sites = federation.list_sites()
    if strange := sorted(set(held_out) - set(sites)):
        raise UserError(f"--held-out {strange[0]}: no such hospital is connected; there are {', '.join(sites)}")
    say(f"{format_count(len(sites), 'hospital')}: {', '.join(sites)}", to_stderr=True)
    folds, judged = read_finished(out, plan, sites)
    if len(sites) <= federation.least:
        raise UserError(
            f"each fold trains without one hospital, and {federation.least} must answer (--least): "
            f"{federation.least + 1} hospitals must be connected"
        )
    patients = write_sums(federation.collect_sums(sites), out)
    set_aside: dict[str, str] = {}
    for site in held_out or sites:
        if site in folds:
            say(f"fold {site}: was finished before", to_stderr=True)
            continue
        try:
            folds[site], judged[site] = run_fold(federation, plan, sites, site, out)
        except UserError as error:
            set_aside[site] = str(error)
            continue
        write_results(out, plan, patients, folds, judged, set_aside)
    if not folds:
        raise UserError(f"no fold was finished; {'; '.join(f'{site}: {why}' for site, why in set_aside.items())}")
    for name, result in write_results(out, plan, patients, folds, judged, set_aside).items():
        say(describe_result(name, result, plan.task))
    finish(f"results: {out / RESULTS}", set_aside)


def write_results(
    out: Path,
    plan: "Plan",
    patients: dict[str, int],
    folds: dict[str, Any],
    judged: dict[str, Any],
    set_aside: dict[str, str],
) -> dict[str, Any]:
    """Write ``federated.json``; returns the combined results by endpoint or region.

    Args:
        out: the folder for the results.
        plan: the training.
        patients: the number of patients by hospital.
        folds: the finished trainings by held-out hospital.
        judged: what these hospitals found.
        set_aside: the folds that failed, each with the reason.
    """
    from kicc_ml.federated.coordinator import combine

    results = combine(plan, judged)
    content = {"plan": plan.as_json(), "patients": patients, "folds": folds, "results": results}
    write_versioned(out / RESULTS, "federated", content | {"set_aside": set_aside})
    return results


def read_finished(out: Path, plan: "Plan", sites: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the folds that an earlier start into the same folder has finished with the same hospitals.

    Args:
        out: the folder for the results.
        plan: the training.
        sites: the hospitals that are connected now.

    Returns:
        the trainings by held-out hospital, and what these hospitals found.

    Raises:
        UserError: the folder holds results of another plan, or folds of other hospitals, which would be lost.
    """
    if not (out / RESULTS).exists():
        return {}, {}
    before = read_versioned(out / RESULTS, "federated", "give another folder with -o")
    if before["plan"] != plan.as_json():
        raise UserError(f"{out / RESULTS} holds the results of another plan; give another folder with -o")
    folds = before["folds"]
    for held_out, fold in folds.items():
        if (others := {*fold["rounds"][-1], *fold["lost"], held_out}) != set(sites):
            raise UserError(
                f"{out / RESULTS} holds folds of other hospitals than are connected now: {', '.join(sorted(others))}; "
                "start again when these are, or give another folder with -o"
            )
    results = before["results"].items()
    judged = {site: {name: one["sites"][site] for name, one in results if site in one["sites"]} for site in folds}
    return folds, judged


def run_fold(
    federation: "Federation", plan: "Plan", sites: list[str], held_out: str, out: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train a fold, keep its weights, and have the held-out hospital judge it.

    Args:
        federation: the server.
        plan: the training.
        sites: all hospitals.
        held_out: the one that is held out.
        out: the folder for the results.

    Returns:
        what the training was, and what the hospital found.
    """
    from kicc_ml.federated.networks import write_arrays

    trained, weights = federation.train(plan, [one for one in sites if one != held_out])
    write_arrays(make_folder(resolve_subfolder(out, held_out, "the hospital")) / "weights.safetensors", weights)
    judged = federation.judge(plan, trained["agreed"], weights, held_out)
    say(f"fold {held_out}: {format_count(plan.rounds, 'round')}, judged at home", to_stderr=True)
    for site, reason in trained["lost"].items():
        say(f"fold {held_out}: {site} did not take part to the end: {reason}", to_stderr=True)
    return trained, judged


def write_sums(sums: dict[str, Any], out: Path) -> dict[str, int]:
    """Write Table 1; returns the number of patients by hospital.

    Args:
        sums: what the hospitals stated.
        out: the folder for the results.
    """
    from kicc_ml.federated.sums import Total, make_table

    items, features, endpoints = (
        {name: Total(**total) for name, total in sums[part].items()} for part in ("items", "features", "endpoints")
    )
    write_table(out / "table_1.csv", escape_formulas(make_table({**items, **endpoints}, features)))
    for site, reason in sums["lost"].items():
        say(f"{site}: {reason}", to_stderr=True)
    return sums["patients"]


def describe_result(name: str, result: dict[str, Any], task: str) -> str:
    """Describe the combined figure of an endpoint or region in one line.

    Args:
        name: of the endpoint or region.
        result: the three answers.
        task: ``outcome`` or ``lesion_ct``.
    """
    figure = "AUC within hospitals" if task == "outcome" else "Dice"
    if result["value"] is None:
        return f"{name}: no {figure}: {result['reason']}"
    bounds = "" if result["low"] is None else f" ({result['low']:.2f} to {result['high']:.2f})"
    return f"{name}: {figure} {result['value']:.2f}{bounds}"
