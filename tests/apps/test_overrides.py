"""What is typed on the command line is what the settings hold, for paths of any spelling."""

import random
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from kicc_ml.apps.configuration import build, compose_configuration, convert_to_plain, replace_values
from kicc_ml.apps.overrides import quote_as_typed, write_setting

FOLDERS = ["병원자료", "my data (2020)", "study#1=final", "a,b", "[x]", "50%", "$HOME", "${oc.env:HOME}", "it's"]
FOLDERS += ['"q"', "'q'", "back\\slash", "ends\\", "a:b", "2020", "1e3", "true", "null-ish", "{a:1}", "~me", "é;&*!?@"]
FOLDERS += ["choice(a,b)", "glob(*)", "a b  c", "<x>|`y`", "-- dash", "\U0001f3e5"]


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("there", [True, False])
def test_a_folder_of_any_name_is_taken_as_it_was_typed(tmp_path: Path, name: str, there: bool):
    folder = tmp_path / name
    if there:
        folder.mkdir()
    typed = [f"cohort.root={folder}", f"run_dir={folder}", f"store_dir={folder}"]
    cfg = compose_configuration("train", ["experiment=clinical", "cohort=repository", *typed])
    assert cfg.cohort.root == cfg.run_dir == cfg.store_dir == str(folder)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_relative_folder_that_is_there_is_taken_as_it_was_typed(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    assert compose_configuration("evaluate", [f"runs={name}"]).runs == name


def test_a_path_with_a_reference_in_it_stays_as_it_was_typed_all_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    typed = "${seed}/${oc.env:HOME}\\${x}"
    cfg = compose_configuration(
        "train", ["experiment=clinical", "cohort=repository", f"cohort.root={typed}", f"run_dir={typed}"]
    )
    with pytest.raises(HydraException) as refused:
        build(cfg.cohort)
    assert str(refused.value.__cause__).startswith(f"{typed} is not a folder")
    assert convert_to_plain(cfg)["cohort"]["root"] == typed
    assert replace_values(cfg, {"run_dir": f"{cfg.run_dir}/a"}).run_dir == f"{typed}/a"
    assert list(compose_configuration("evaluate", [f"runs=[{typed},b]"]).runs) == [typed, "b"]


def test_what_is_no_path_may_refer_to_other_settings():
    cfg = compose_configuration(
        "train", ["experiment=clinical", "seed=7", "name=run-${seed}", "image_window_days=[-1,${seed}]"]
    )
    assert (cfg.name, list(cfg.image_window_days)) == ("run-7", [-1, 7])


def test_several_runs_are_listed_in_brackets_whatever_they_are_called():
    cfg = compose_configuration("evaluate", ["runs=[runs/대구, runs/a b, 'runs/c,d', runs/e=f]"])
    assert list(cfg.runs) == ["runs/대구", "runs/a b", "runs/c,d", "runs/e=f"]


@pytest.mark.parametrize("fold", ["001", "서울", "St Mary's", "1e3", "true", "#1", "a=b"])
def test_a_fold_is_named_as_its_hospital(fold: str):
    assert compose_configuration("train", ["experiment=clinical", f"split.fold={fold}"]).split.fold == fold


def test_a_tilde_that_the_shell_left_alone_is_the_users_home(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/kim")
    assert quote_as_typed(["cohort.root=~/병원"]) == ["cohort.root='/home/kim/병원'"]


@pytest.mark.parametrize(
    "typed",
    [
        "--multirun",
        "experiment=a,b",
        "seed=1,2,3",
        "split.fold=a,b",
        "trainer.max_steps=4",
        "data.patch_size=[48,48,24]",
        "cohort.root='${store_dir}/x'",
        "name=${experiment}-x",
        "seed=${oc.env:SEED}",
        "hydra.sweep.dir=runs/${now:%Y-%m-%d}",
        "hydra.searchpath=[file://${oc.env:HOME}/settings]",
        "cohort.root='quoted already'",
        "ckpt_path=null",
        "features_from=",
        "~trainer",
        "++trainer.max_steps=4",
        "data.patch_size=[48,48",
    ],
)
def test_what_hydra_understands_is_left_to_hydra(typed: str):
    assert quote_as_typed([typed]) == [typed]


def test_folders_that_are_all_there_are_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        (tmp_path / name).mkdir()
    assert quote_as_typed(["cohort.root=a,b"]) == ["cohort.root=a,b"]


def test_a_setting_holds_any_text_letter_by_letter_also_when_a_sweep_hands_it_on():
    letters = random.Random(0)
    alphabet = "a'\"\\${},[]()#=%~ 한é\n:;&*!?@`|<>-+."
    parser = OverridesParser.create()
    for _ in range(500):
        text = "".join(letters.choice(alphabet) for _ in range(letters.randint(1, 8)))
        override = parser.parse_override(write_setting("a", text))
        handed_on = parser.parse_override(f"a={override.get_value_element_as_str()}")
        for one in (override, handed_on):
            config = OmegaConf.create({})
            OmegaConf.update(config, "a", one.value())
            assert config.a == text


def test_a_list_that_is_not_closed_is_still_the_users_error():
    with pytest.raises(HydraException):
        compose_configuration("train", ["experiment=clinical", "data.patch_size=[48,48"])
