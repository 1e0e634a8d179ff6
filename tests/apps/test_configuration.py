"""What a configuration may call, how a user's error looks."""

import errno
import logging
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from kicc_ml.apps.configuration import (
    build,
    build_each,
    compose_configuration,
    convert_to_plain,
    log_to_terminal,
    run_with_clear_errors,
)
from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Split
from kicc_ml.data.canonical import CanonicalCXR
from kicc_ml.runs.lay_down import lay_down

MISSING = {"_target_": "mylab.networks.Net"}


@pytest.mark.parametrize(
    "settings",
    [
        MISSING,
        {"_target_": "kicc_ml.data.canonical.CanonicalCXR", "size": MISSING},
        {"_target_": "kicc_ml.data.canonical.CanonicalCXR", "size": [[1, MISSING]]},
        {**MISSING, "_partial_": True},
    ],
    ids=["itself", "as an argument", "in a list of lists", "as a partial"],
)
def test_a_part_that_cannot_be_imported_is_named_wherever_it_stands(settings: dict):
    with pytest.raises(UserError, match=r"mylab\.networks\.Net, which cannot be imported .*install its package"):
        build(OmegaConf.create(settings))


def test_a_part_that_an_interpolation_brings_in_is_named_too():
    tree = OmegaConf.create({"mine": "mylab.networks.Net", "call": {"_target_": "${mine}"}})
    with pytest.raises(UserError, match=r"mylab\.networks\.Net"):
        build(tree.call)


def test_nothing_is_called_where_one_part_of_several_cannot_be_imported(tmp_path: Path):
    marker = tmp_path / "called"
    settings = {
        "_target_": "kicc_ml.data.canonical.CanonicalCXR",
        "size": [{"_target_": "pathlib.Path.touch", "_args_": [str(marker)]}, MISSING],
    }
    with pytest.raises(UserError):
        build(OmegaConf.create(settings))
    assert not marker.exists()


def test_what_the_user_names_is_built_whoever_ships_it():
    assert build(OmegaConf.create({"_target_": "datetime.date", "year": 2020, "month": 2, "day": 20})).month == 2


def test_parts_by_name_are_built_each_and_one_part_alone_too():
    day = {"_target_": "datetime.date", "year": 2020, "month": 2, "day": 20}
    assert len(build_each(OmegaConf.create({"one": day, "left_out": None, "other": {**day, "day": 21}}))) == 2
    assert len(build_each(OmegaConf.create(day))) == 1
    assert build_each(OmegaConf.create({})) == []


def test_what_is_listed_is_built_with_its_settings():
    settings = OmegaConf.create({"_target_": "kicc_ml.data.canonical.CanonicalCXR", "size": 64})
    assert build(settings) == CanonicalCXR(size=64)


def raiser(error: BaseException) -> Callable[[], None]:
    def run() -> None:
        raise error

    return run


def test_a_users_error_is_one_message_and_status_2(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as stopped:
        run_with_clear_errors(raiser(UserError("clinical.csv, line 3: age_years is 190")))
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: clinical.csv, line 3: age_years is 190\n"


def test_the_error_that_names_file_and_remedy_is_the_one_that_is_shown(capsys: pytest.CaptureFixture):
    whole = UserError("runs/a cannot be read as a trained fold: its weights are damaged; train it again")
    whole.__cause__ = UserError("its weights are damaged")
    with pytest.raises(SystemExit, match="2"):
        run_with_clear_errors(raiser(whole))
    assert capsys.readouterr().err == f"error: {whole}\n"


def test_a_mistyped_setting_is_status_2_and_says_which(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as stopped:
        run_with_clear_errors(lambda: print(compose_configuration("train", ["experiment=outcome", "sede=1"])))
    assert stopped.value.code == 2
    assert "sede" in capsys.readouterr().err


def test_a_mistake_of_ours_keeps_its_traceback_in_which_no_name_steers_the_terminal(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as stopped:
        run_with_clear_errors(raiser(ZeroDivisionError("\x1b[31mred")))
    assert stopped.value.code == 1
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback (most recent call last):\n")
    assert shown.endswith("ZeroDivisionError: \\x1b[31mred\n\n")


def test_a_warning_is_said_once_however_many_folds_read_the_cohort(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    log_to_terminal()
    for fold in range(8):
        logging.getLogger("cohort").warning("%s: no patient has a usable image", "\x1b[31mrepository")
        logging.getLogger("cohort").warning("fold %d: no training case has a lesion", fold)
    lines = capsys.readouterr().err.splitlines()
    assert sum("no patient has a usable image" in line for line in lines) == 1
    assert sum("no training case has a lesion" in line for line in lines) == 8
    assert not any("\x1b" in line for line in lines)


def test_plain_settings_are_resolved_and_of_no_library_type():
    node = OmegaConf.create({"seed": 3, "split": {"seed": "${seed}", "sides": [1, 2]}})
    settings = convert_to_plain(node)
    assert settings == {"seed": 3, "split": {"seed": 3, "sides": [1, 2]}}
    assert type(settings["split"]) is dict
    assert type(settings["split"]["sides"]) is list


def test_hospitals_whose_folds_would_lie_in_one_folder_are_both_named_before_anything_is_written(tmp_path):
    cases = {name: name for name in ("a", "b", "c")}
    for names in (["St Mary", "St-Mary"], ["Seoul", "seoul"], ["서울", unicodedata.normalize("NFD", "서울")]):
        splits = [Split(name, ("a",), ("b",), ("c",), cases) for name in names]
        with pytest.raises(UserError, match=r"the folds '.*' and '.*' would be one folder on some disks"):
            lay_down(tmp_path, splits, {name: {} for name in names}, {})
        assert list(tmp_path.iterdir()) == []


def test_hydra_says_nothing_before_the_one_sentence_of_a_users_error(capsys: pytest.CaptureFixture[str]):
    job = JobReturn(overrides=["runs=x"], status=JobStatus.FAILED)
    job.return_value = UserError("x holds no finished run; train one")
    with pytest.raises(SystemExit, match="2"):
        run_with_clear_errors(lambda: job.return_value)
    assert capsys.readouterr().err == "error: x holds no finished run; train one\n"


def test_a_disk_that_is_full_wherever_a_library_writes_is_one_sentence(capsys: pytest.CaptureFixture[str]):
    wrapped = RuntimeError("the checkpoint could not be written")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device", "runs/a/checkpoints/last.ckpt")
    with pytest.raises(SystemExit, match="2"):
        run_with_clear_errors(raiser(wrapped))
    said = "runs/a/checkpoints/last.ckpt cannot be written: No space left on device; make room or choose another folder"
    assert capsys.readouterr().err == f"error: {said}\n"
