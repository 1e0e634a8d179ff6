"""``evaluate.py`` over a run folder from a stranger: judged by the cohort, one sentence, nothing outside touched."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from kicc_ml.apps import evaluate as script
from tests.support.finished_run import outcome_run
from tests.support.tree import digests

Judge = Callable[..., tuple[int, str, str]]


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, tmp_path: Path) -> Judge:
    """The command in a folder of its own; exit status and both outputs."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "user" / name))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["evaluate.py", *arguments])
        with pytest.raises(SystemExit) as stopped:
            script.run()
        return int(stopped.value.code or 0), *capfd.readouterr()

    return run


def refused(result: tuple[int, str, str]) -> str:
    """The one sentence of a user's error."""
    status, _, err = result
    assert status == 2, err
    assert "Traceback" not in err
    assert "Error executing job" not in err
    (message,) = [line for line in err.splitlines() if line.startswith("error: ")]
    return message


def outside(root: Path) -> dict[str, str]:
    """The files below ``root`` that are neither of the run nor kept for the user."""
    return {name: one for name, one in digests(root).items() if not name.startswith(("run/", "user/"))}


def change_settings(run: Path, **changes: Any) -> None:
    for path in run.glob("*/config.yaml"):
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


def change_table(run: Path, change: Callable[[pd.DataFrame], Any]) -> None:
    path = run / "busan" / "predictions.csv"
    table = pd.read_csv(path).astype({"probability": object, "label": object})
    changed = change(table)
    (table if changed is None else changed).to_csv(path, index=False)


def test_a_received_run_is_judged_where_the_evaluator_says_its_cohort_lies(tmp_path: Path, judge: Judge):
    run = outcome_run(tmp_path)
    assert "cohort.root=DIR" in refused(judge(f"runs={run}"))
    assert not (run / "report.html").exists()
    status, out, _ = judge(f"runs={run}", f"cohort.root={tmp_path / 'repo'}")
    assert status == 0
    assert out.splitlines()[-1] == f"report: {run / 'report.html'}"


def test_the_settings_of_a_received_run_write_nothing_outside_and_read_no_environment(
    tmp_path: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch
):
    run, thesis = outcome_run(tmp_path), tmp_path / "docs" / "thesis.odt"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    monkeypatch.setenv("KICC_DICOMWEB_AUTHORIZATION", "Bearer SECRETTOKEN42")
    kept = {"_target_": "kicc_ml.cohort.repository.repository"}
    evil = [
        kept | {"index_cache": str(thesis), "root": str(tmp_path / "docs"), "store_dir": str(thesis)},
        {
            **{"_target_": "kicc_ml.cohort.public.synthetic.synthetic", "preset": "demo", "seed": 1},
            **{"root": str(tmp_path / "planted"), "index_cache": "${oc.env:KICC_DICOMWEB_AUTHORIZATION}.parquet"},
        },
    ]
    for cohort in evil:
        change_settings(run, cohort=cohort, name="${oc.env:KICC_DICOMWEB_AUTHORIZATION}")
        before = outside(tmp_path)
        status, out, err = judge(f"runs={run}", f"cohort.root={tmp_path / 'repo'}")
        assert status == 0, err
        assert outside(tmp_path) == before
        assert "SECRETTOKEN42" not in out + err
        written = [path for path in run.rglob("*") if path.is_file()]
        assert not [path for path in written if "SECRETTOKEN42" in path.name + path.read_text(errors="replace")]


BAD_TABLES: dict[str, tuple[Callable[[pd.DataFrame], Any], str]] = {
    "labels that fit": (lambda table: table.assign(label=(table["probability"] > 0.3).astype(float)), "label"),
    "one label": (
        lambda table: table.__setitem__("label", [1 - table["label"][0], *table["label"][1:]]),
        "1 of 20 values",
    ),
    "no labels": (lambda table: table.assign(label=None), "label"),
    "a probability of 7.5": (lambda table: table.__setitem__("probability", 7.5), "not from 0 to 1"),
    "a probability of -1": (lambda table: table.__setitem__("probability", -1), "not from 0 to 1"),
    "a word": (lambda table: table.__setitem__("probability", "abc"), "probability is not a number"),
    "some emptied": (
        lambda table: table.__setitem__("probability", [None, None, *table["probability"][2:]]),
        "2 of 20 cells of probability are empty where the same model has others, the first in line 2",
    ),
    "infinity": (lambda table: table.__setitem__("probability", "inf"), "not from 0 to 1"),
    "a row twice": (lambda table: pd.concat([table, table[:1]]), "twice"),
    "another hospital": (lambda table: table.__setitem__("site", "seoul"), "is of busan in the cohort"),
    "a stranger": (lambda table: table.__setitem__("case_id", [f"x{n}" for n in range(20)]), "no case of the cohort"),
    "a way out": (lambda table: table.__setitem__("case_id", [f"../x{n}" for n in range(20)]), "no case of the cohort"),
    "another endpoint": (lambda table: table.__setitem__("endpoint", "fame"), "no endpoint fame"),
    "no endpoint": (lambda table: table.drop(columns="endpoint"), "no column endpoint"),
    "no case": (lambda table: table.drop(columns="case_id"), "no column case_id"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_predictions_of_a_run_are_checked_as_anybodys_are(tmp_path: Path, judge: Judge, name: str):
    run, (change, said) = outcome_run(tmp_path), BAD_TABLES[name]
    change_table(run, change)
    assert said in refused(judge(f"runs={run}", f"cohort.root={tmp_path / 'repo'}"))
    assert not (run / "report.html").exists()


def test_an_endpoint_that_the_cohort_lacks_may_stand_in_a_table_that_states_nothing_of_it(tmp_path: Path, judge: Judge):
    """A run predicts the endpoints of its settings; the cohort of a public table has one of them."""
    run = outcome_run(tmp_path)
    change_table(
        run, lambda table: pd.concat([table, table.assign(endpoint="ventilation", probability=None, label=None)])
    )
    status, _, err = judge(f"runs={run}", f"cohort.root={tmp_path / 'repo'}")
    assert status == 0, err


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b'a,b\n"1,2', b"case_id\n" + b"x,y,z\n" * 3])
def test_a_table_that_is_none_is_one_sentence(tmp_path: Path, judge: Judge, content: bytes):
    run = outcome_run(tmp_path)
    (run / "busan" / "predictions.csv").write_bytes(content)
    assert "predictions.csv" in refused(judge(f"runs={run}", f"cohort.root={tmp_path / 'repo'}"))


BAD_FILES: dict[str, tuple[str, bytes]] = {
    "no YAML": ("busan/config.yaml", b"a: [1"),
    "aliases": ("busan/config.yaml", b"a: &a [x, x]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]"),
    "no UTF-8": ("busan/config.yaml", "a: 서울".encode("euc-kr")),
    "no settings": ("busan/config.yaml", b"- 1"),
    "no cohort": ("busan/config.yaml", b"split: {_target_: a.b}"),
    "no split": ("busan/config.yaml", b"cohort: {_target_: kicc_ml.cohort.repository.repository}"),
    "a plan of nothing": ("busan/plan.yaml", b"fields: {spacing_mm: [1, 1, 1]}"),
    "quarantine cut off": ("busan/quarantine.json", b"{"),
    "quarantine of the run": ("quarantine.json", b"[1]"),
    "flow cut off": ("flow.json", b"{"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_damaged_file_of_a_run_is_one_sentence_that_names_it(tmp_path: Path, judge: Judge, name: str):
    run, (file, content) = outcome_run(tmp_path), BAD_FILES[name]
    (run / file).write_bytes(content)
    assert Path(file).name in refused(judge(f"runs={run}", f"cohort.root={tmp_path / 'repo'}"))


def test_links_of_a_received_run_that_lead_out_of_it_are_not_written_through(tmp_path: Path, judge: Judge):
    run, elsewhere = outcome_run(tmp_path), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "thesis.html").write_text("years of work")
    for name in ("report.html", "summary.json", "cases.csv"):
        (run / name).symlink_to(elsewhere / "thesis.html")
    (run / "severity").symlink_to(elsewhere)
    judge(f"runs={run}", f"cohort.root={tmp_path / 'repo'}")
    assert [path.name for path in elsewhere.iterdir()] == ["thesis.html"]
    assert (elsewhere / "thesis.html").read_text() == "years of work"


def test_a_cohort_that_is_named_whole_serves_for_its_place(tmp_path: Path, judge: Judge):
    run = outcome_run(tmp_path)
    status, _, err = judge(f"runs={run}", "cohort=repository", f"cohort.root={tmp_path / 'repo'}")
    assert status == 0, err
