"""A fold begins where its seed says, whatever lies about, and one process writes it."""

import csv
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import DictConfig

from kicc_ml.apps import train as script
from kicc_ml.apps.configuration import compose_configuration
from kicc_ml.core.errors import UserError
from kicc_ml.core.files import write_table, write_yaml
from kicc_ml.core.locks import Busy, hold
from kicc_ml.core.received import read_yaml
from kicc_ml.runs.folder import CONFIG, PREDICTIONS
from kicc_ml.runs.lay_down import LOCK, STARTED
from kicc_ml.runs.run_cohort import read_note
from kicc_ml.synthetic.repository import synthesize
from tests.support.lock_holder import other_process
from tests.support.slurm import slurm

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on checkpoints and workers

FOLD, OTHER = "busan-1", "daegu-1"
SMALL = (
    *("experiment=outcome", "cohort=repository", "data.canonical_ct=null", "data.canonical_cxr=null"),
    *("network.ct=false", "network.cxr=false", "network.width=8", "trainer.max_time=null"),
    *("trainer.max_steps=4", "trainer.log_every_n_steps=1"),
)
Settings = Callable[..., DictConfig]


class Trained(Exception):
    """Ends a fold after its network is trained: its baselines take seconds, and are not what is tested here."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("isolation") / "repository"
    synthesize(root, "demo", 3, tables_only=True, patients=24, sites=3)
    with (root / "clinical.csv").open(encoding="utf-8") as table:
        for row in csv.DictReader(table):
            (root / row["site"]).mkdir(exist_ok=True)
    return root


@pytest.fixture
def settings(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a run in ``tmp_path/run``; networks are trained and no more."""

    def stop(*_: object) -> None:
        raise Trained

    monkeypatch.setattr(script, "recalibrate", stop)

    def give(*more: str, run: str = "run") -> DictConfig:
        where = (f"cohort.root={repository}", f"run_dir={tmp_path / run}", f"store_dir={tmp_path / 'store'}")
        return compose_configuration("train", [*SMALL, *where, *more])

    return give


def train(settings: Settings, fold: str, *more: str, run: str = "run") -> None:
    script.prepare(settings(*more, run=run))
    with pytest.raises(Trained):
        script.train(settings(f"split.fold={fold}", *more, run=run))


def metrics(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "metrics.csv")


def checkpoint(folder: Path, name: str = "best") -> Path:
    return folder / "checkpoints" / f"{name}.ckpt"


@pytest.mark.parametrize("in_a_job", [True, False])
def test_a_checkpoint_in_the_working_directory_is_taken_up_by_no_fold(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_a_job: bool
):
    train(settings, OTHER)
    train(settings, FOLD)
    (tmp_path / "here").mkdir()
    shutil.copy(checkpoint(tmp_path / "run" / OTHER), tmp_path / "here" / "hpc_ckpt_1.ckpt")
    monkeypatch.chdir(tmp_path / "here")
    if in_a_job:
        slurm(monkeypatch, tasks=1)
    train(settings, FOLD, run="again")
    clean, planted = (metrics(tmp_path / run / FOLD) for run in ("run", "again"))
    assert clean["train/loss"].count() == 4
    pd.testing.assert_frame_equal(clean, planted, check_exact=True)
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["hpc_ckpt_1.ckpt"]


def test_a_checkpoint_of_a_requeued_job_in_the_folds_folder_is_refused_in_one_sentence(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    train(settings, OTHER)
    planted = tmp_path / "run" / FOLD / "hpc_ckpt_3.ckpt"
    shutil.copy(checkpoint(tmp_path / "run" / OTHER), planted)
    slurm(monkeypatch, tasks=1)
    with pytest.raises(UserError, match=r"hpc_ckpt_3\.ckpt was left by a requeued job.*remove it"):
        script.train(settings(f"split.fold={FOLD}"))
    monkeypatch.setattr(script, "REQUEUED", "none")  # what Lightning finds by itself passes the same gate
    with pytest.raises(UserError, match=f"a checkpoint of fold {OTHER}, which may have seen"):
        script.train(settings(f"split.fold={FOLD}"))


def test_a_checkpoint_of_another_fold_is_refused_before_anything_of_the_fold_is_changed(
    settings: Settings, tmp_path: Path
):
    train(settings, OTHER)
    train(settings, FOLD)
    before = {path: path.read_bytes() for path in (tmp_path / "run" / FOLD).rglob("*") if path.is_file()}
    foreign = checkpoint(tmp_path / "run" / OTHER)
    with pytest.raises(UserError, match=f"a checkpoint of fold {OTHER}, which may have seen"):
        script.train(settings(f"split.fold={FOLD}", f"ckpt_path={foreign}"))
    assert {path: path.read_bytes() for path in (tmp_path / "run" / FOLD).rglob("*") if path.is_file()} == before


def test_the_same_fold_of_other_settings_is_refused_and_a_longer_training_is_not(settings: Settings, tmp_path: Path):
    train(settings, FOLD)
    own = f"ckpt_path={checkpoint(tmp_path / 'run' / FOLD)}"
    train(settings, FOLD, own, "trainer.max_steps=6", run="longer")
    assert metrics(tmp_path / "longer" / FOLD)["step"].max() > metrics(tmp_path / "run" / FOLD)["step"].max()
    for number, other in enumerate(("model.learning_rate=0.5", "seed=7", "network.dropout=0.4")):
        with pytest.raises(UserError, match=r"other (settings|cases)"):
            train(settings, FOLD, own, other, run=f"other-{number}")


def test_a_last_checkpoint_that_was_cut_off_says_how_to_go_on(settings: Settings, tmp_path: Path):
    train(settings, FOLD)
    last = checkpoint(tmp_path / "run" / FOLD, "last")
    last.write_bytes(checkpoint(tmp_path / "run" / FOLD).read_bytes()[:2000])
    with pytest.raises(UserError, match=r"last\.ckpt cannot be read.*ckpt_path=FILE, or remove it"):
        script.train(settings(f"split.fold={FOLD}", "ckpt_path=last"))
    last.unlink()
    train(settings, FOLD, "ckpt_path=last")


def test_a_checkpoint_that_is_not_there_is_one_sentence(settings: Settings, tmp_path: Path):
    script.prepare(settings())
    with pytest.raises(UserError, match=r"none\.ckpt does not exist"):
        script.train(settings(f"split.fold={FOLD}", f"ckpt_path={tmp_path / 'none.ckpt'}"))


def test_a_run_folder_names_neither_machine_nor_folder_nor_where_its_cohort_lies(
    settings: Settings, tmp_path: Path, repository: Path
):
    train(settings, FOLD)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert checkpoint(tmp_path / "run" / FOLD) in files
    for word in (str(tmp_path), str(repository), str(Path.cwd()), socket.gethostname() + "."):
        assert not [path for path in files if word.encode() in path.name.encode() + b"\n" + path.read_bytes()], word
    assert read_note(tmp_path / "run")["root"] == str(repository)


@pytest.fixture
def held(settings: Settings, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that trains the fold."""
    script.prepare(settings())
    process = other_process(tmp_path / "run" / FOLD / LOCK)
    yield process
    process.kill()
    process.wait()


def test_of_two_starts_of_one_run_the_second_is_told_and_changes_nothing(settings: Settings, tmp_path: Path):
    script.prepare(settings())
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with hold(tmp_path / "run" / OTHER / STARTED, "x"), pytest.raises(Busy, match=rf"fold {OTHER} of .* process"):
        script.prepare(settings())
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_the_second_process_in_a_fold_is_told_who_trains_it_and_changes_nothing(
    held: subprocess.Popen[str], settings: Settings, tmp_path: Path
):
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    said = rf"fold {FOLD} of .* is being written by process {held.pid} on {socket.gethostname()}"
    with pytest.raises(Busy, match=said):
        script.train(settings(f"split.fold={FOLD}"))
    with pytest.raises(Busy, match=said):
        script.prepare(settings())
    with pytest.raises(Busy, match=said):
        script.prepare(settings("seed=9"))
    assert {path: path.read_bytes() for path in before} == before
    script.prepare(settings(f"split.fold={OTHER}"))  # another fold of the same run may be trained beside it


def test_a_fold_of_a_process_that_was_killed_is_trained_by_the_next(
    held: subprocess.Popen[str], settings: Settings, tmp_path: Path
):
    held.kill()
    held.wait()
    train(settings, FOLD)
    assert checkpoint(tmp_path / "run" / FOLD).is_file()


def test_settings_that_another_start_has_laid_down_meanwhile_are_not_mixed(settings: Settings, tmp_path: Path):
    script.prepare(settings())
    config = tmp_path / "run" / FOLD / CONFIG
    write_yaml(config, read_yaml(config, "") | {"seed": 9})
    with pytest.raises(UserError, match="other settings than this training was started with"):
        script.train(settings(f"split.fold={FOLD}"))


def test_a_fold_that_was_finished_meanwhile_is_left_as_it_is(settings: Settings, tmp_path: Path):
    script.prepare(settings())
    write_table(tmp_path / "run" / FOLD / PREDICTIONS, pd.DataFrame({"case_id": ["a"]}))
    script.train(settings(f"split.fold={FOLD}"))
    assert not checkpoint(tmp_path / "run" / FOLD).exists()


def test_the_cohort_of_a_run_is_none_to_train_on(settings: Settings):
    cfg = settings()
    cfg.cohort = {"_target_": "kicc_ml.runs.run_cohort.RunCohort"}
    with pytest.raises(UserError, match="name the cohort to train on"):
        script.prepare(cfg)
