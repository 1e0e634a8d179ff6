"""The run folder: what goes in comes out, what was tampered with does not."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open

from kicc_ml.core.errors import TargetError, UserError
from kicc_ml.core.files import read_table, write_json, write_table
from kicc_ml.data.canonical import CanonicalCT
from kicc_ml.models.networks import build_network
from kicc_ml.runs.folder import (
    CONFIG,
    PREDICTIONS,
    WEIGHTS,
    case_folder,
    find_model_card,
    fold_folder,
    fold_folders,
    load_fold,
    save_network,
)
from tests.support.saved_fold import ABOUT, SETTINGS, save_fold


def test_a_network_read_back_gives_the_same_logits(tmp_path: Path):
    network = save_fold(tmp_path).eval()
    image_bcxyz = torch.rand(1, 1, 16, 16, 8)
    fold = load_fold(tmp_path)
    assert not fold.network.training
    torch.testing.assert_close(fold.network(image_bcxyz), network(image_bcxyz), rtol=0, atol=0)


def test_what_was_learnt_and_how_it_sees_a_ct_are_read_back(tmp_path: Path):
    save_fold(tmp_path)
    fold = load_fold(tmp_path)
    assert json.dumps(vars(fold.about)) == json.dumps(vars(ABOUT))
    canonical = CanonicalCT(spacing_mm=(3.0, 3.0, 5.0), window_hu=(-1000.0, 500.0))
    assert tuple(fold.canonical.spacing_mm or ()) == canonical.spacing_mm
    assert tuple(fold.canonical.window_hu) == canonical.window_hu
    assert list(fold.patch_size) == [16, 16, 8]


def test_weights_hold_tensors_and_no_pickle(tmp_path: Path):
    save_fold(tmp_path)
    with safe_open(tmp_path / WEIGHTS, framework="np") as file:
        assert all(isinstance(file.get_tensor(name), np.ndarray) for name in file.keys())  # noqa: SIM118
    assert not zipfile.is_zipfile(tmp_path / WEIGHTS)  # what torch.save writes


@pytest.mark.parametrize("target", ["os.system", "torch.load", "monai.networks.nets.UNETR", "builtins.eval"])
def test_a_run_folder_cannot_name_a_network_of_its_own(tmp_path: Path, target: str):
    save_fold(tmp_path, SETTINGS | {"network": {"_target_": target, "command": "true"}})
    with pytest.raises(UserError, match=target):
        load_fold(tmp_path)


@pytest.mark.parametrize("keep", [0, 4, 40, 4000])
def test_weights_cut_short_are_a_users_error(tmp_path: Path, keep: int):
    save_fold(tmp_path)
    whole = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(whole[:keep])
    with pytest.raises(UserError, match="cannot be read as a trained fold"):
        load_fold(tmp_path)


def test_weights_of_another_architecture_are_a_users_error(tmp_path: Path):
    wider = SETTINGS["network"] | {"channels": [8, 16]}
    save_fold(tmp_path, SETTINGS | {"network": wider})
    with pytest.raises(UserError, match="cannot be read as a trained fold"):
        load_fold(tmp_path)


@pytest.mark.parametrize("text", ["", "- a list", "network: [", "42"])
def test_settings_that_are_none_are_a_users_error(tmp_path: Path, text: str):
    save_fold(tmp_path)
    (tmp_path / CONFIG).write_text(text)
    with pytest.raises(UserError):
        load_fold(tmp_path)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_missing_file_of_a_fold_is_named(tmp_path: Path, name: str):
    save_fold(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=name):
        load_fold(tmp_path)


def test_settings_cannot_construct_python_objects(tmp_path: Path):
    save_fold(tmp_path)
    marker = tmp_path / "called"
    (tmp_path / CONFIG).write_text(f"network: !!python/object/apply:os.mkdir ['{marker}']\n")
    with pytest.raises(UserError):
        load_fold(tmp_path)
    assert not marker.exists()


def test_a_run_names_its_finished_folds_and_a_fold_itself(tmp_path: Path):
    for name in ("seoul", "busan"):
        save_fold(tmp_path / name)
    (tmp_path / "daegu").mkdir()
    (tmp_path / "daegu" / CONFIG).write_text("seed: 1")
    assert fold_folders(tmp_path) == [tmp_path / "busan", tmp_path / "seoul"]
    assert fold_folders(str(tmp_path / "seoul")) == [tmp_path / "seoul"]


def test_the_model_card_of_a_run_is_found_by_the_run_and_by_its_folds(tmp_path: Path):
    fold = tmp_path / "run" / "seoul"
    fold.mkdir(parents=True)
    (fold / "predictions.csv").touch()
    assert find_model_card(fold) is None
    assert find_model_card(fold.parent) is None
    card = fold.parent / "model_card.html"
    card.touch()
    assert find_model_card(fold) == card
    assert find_model_card(fold.parent) == card


def test_the_card_of_a_folder_above_is_not_that_of_a_run_that_was_not_evaluated(tmp_path: Path):
    (tmp_path / "model_card.html").touch()
    (tmp_path / "run").mkdir()
    assert find_model_card(tmp_path / "run") is None


@pytest.mark.parametrize("name", ["", "not-there"])
def test_a_folder_without_a_finished_run_says_how_to_make_one(tmp_path: Path, name: str):
    with pytest.raises(UserError, match=r"no finished run.*train\.py"):
        fold_folders(tmp_path / name)


@pytest.mark.parametrize(
    ("fold", "folder"),
    [
        ("seoul", "seoul"),
        ("서울 1", "서울-1"),
        ("a/../b", "a-..-b"),
        ("fold-3", "fold-3"),
        ("st. mary's", "st.-mary-s"),
    ],
)
def test_a_fold_lies_in_one_folder_below_its_run(tmp_path: Path, fold: str, folder: str):
    assert fold_folder(tmp_path, fold) == tmp_path / folder
    assert fold_folder(str(tmp_path), fold).parent == tmp_path


def disk_full(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


def test_hospitals_and_cases_keep_their_names_whatever_these_look_like(tmp_path: Path):
    names = ["01", "1", "NA", "1e5", "서울 병원"]
    table = pd.DataFrame({"case_id": names, "site": names, "fold": names, "label": [0, 1, np.nan, 0, 1]})
    write_table(tmp_path / PREDICTIONS, table)
    read = read_table(tmp_path / PREDICTIONS)
    assert all(read[column].tolist() == names for column in ("case_id", "site", "fold"))
    assert read["label"].isna().tolist() == [False, False, True, False, False]


def test_a_full_disk_leaves_the_former_table_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / PREDICTIONS
    write_table(path, pd.DataFrame({"case_id": ["old"]}))
    monkeypatch.setattr(pd.DataFrame, "to_csv", disk_full)
    with pytest.raises(TargetError, match="No space"):
        write_table(path, pd.DataFrame({"case_id": ["new"]}))
    assert path.read_text() == "case_id\nold\n"


def test_a_fold_is_not_finished_where_its_table_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / CONFIG).write_text("seed: 1")
    monkeypatch.setattr(os, "replace", disk_full)
    with pytest.raises(TargetError, match="No space"):
        write_table(tmp_path / PREDICTIONS, pd.DataFrame({"case_id": ["a"]}))
    with pytest.raises(UserError, match="no finished run"):
        fold_folders(tmp_path)


def test_weights_are_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "replace", disk_full)
    with pytest.raises(TargetError, match="No space"):
        save_network(tmp_path, build_network(SETTINGS["network"], ABOUT.sizes), ABOUT, SETTINGS)
    assert not (tmp_path / WEIGHTS).exists()


def test_json_keeps_the_former_file_where_the_new_one_cannot_be_written(tmp_path: Path):
    path = tmp_path / "quarantine.json"
    write_json(path, {"사례": "잘림"})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"score": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8")) == {"사례": "잘림"}


@pytest.mark.parametrize(
    "hospital", ["severity", "Severity", "figures", "cases.csv", "flow.json", "report.html", "model_card.md"]
)
def test_a_hospital_called_like_a_part_of_the_run_has_a_folder_of_its_own(tmp_path: Path, hospital: str):
    assert fold_folder(tmp_path, hospital) == tmp_path / f"fold-{hospital}"


@pytest.mark.parametrize("hospital", ["..", ".", "../x", "a/b", "x" * 300, "서울" * 80, "a\0b", "\x1b[31m"])
def test_the_folder_of_a_fold_lies_directly_in_its_run_whatever_the_hospital_is_called(tmp_path: Path, hospital: str):
    folder = fold_folder(tmp_path, hospital)
    folder.mkdir()
    assert folder.resolve().parent == tmp_path.resolve()


@pytest.mark.parametrize("link", ["severity", "severity/a"])
def test_a_link_in_a_run_folder_leads_no_result_elsewhere(tmp_path: Path, link: str):
    (tmp_path / "elsewhere" / "a").mkdir(parents=True)
    (tmp_path / "run" / link).parent.mkdir(parents=True)
    (tmp_path / "run" / link).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="leads out of"):
        case_folder(tmp_path / "run", "a")
