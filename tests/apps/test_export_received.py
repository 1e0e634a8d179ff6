"""``kicc-ml export`` of a run folder from a stranger reads the cohort that its user names, and no other."""

from pathlib import Path

import pytest

from kicc_ml.apps import cli
from tests.support.finished_run import hospital
from tests.support.saved_fold import SETTINGS, save_fold

ALLOWED = "kicc_ml.cohort.repository.repository"
MAKING = "kicc_ml.cohort.public.synthetic.synthetic"


@pytest.mark.parametrize("target", [ALLOWED, MAKING])
def test_a_received_run_is_exported_from_the_cohort_that_is_named(
    tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    victim = hospital(tmp_path / "victim")
    cohort = {"_target_": target, "root": str(victim), "preset": "demo", "index_cache": str(tmp_path / "thesis.odt")}
    save_fold(tmp_path / "run" / "seoul", SETTINGS | {"cohort": cohort})
    (tmp_path / "thesis.odt").write_text("years of work")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr("sys.argv", ["kicc-ml", "export", str(tmp_path / "run"), "-o", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert "--root DIR" in capfd.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "thesis.odt").read_text() == "years of work"
