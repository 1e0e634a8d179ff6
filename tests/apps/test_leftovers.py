"""A part of one's own by its name alone: what the file of the group said to another part does not stay."""

from pathlib import Path

import pytest

from kicc_ml.apps.configuration import CALLABLE, compose_configuration, convert_to_plain
from kicc_ml.apps.fold_settings import describe_packages_of
from kicc_ml.apps.own_parts import build_parts_of_task, make_splits
from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case
from kicc_ml.models.networks import NETWORKS, build_own_network


@pytest.fixture(autouse=True)
def lab(monkeypatch: pytest.MonkeyPatch) -> None:
    """``myLab`` is installed."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "support")


def test_every_network_that_a_run_may_name_is_one_that_this_project_ships():
    assert set(NETWORKS) <= CALLABLE


def test_a_network_by_name_gets_only_what_it_takes():
    cfg = compose_configuration("train", ["experiment=lesion_ct", "network._target_=myLab.networks.TwoScales"])
    assert convert_to_plain(cfg.network) == {"_target_": "myLab.networks.TwoScales", "weights": None}
    build_own_network(convert_to_plain(cfg.network), {"in_channels": 1, "out_channels": 5})


def test_a_network_of_monai_by_name_keeps_what_it_takes_too():
    cfg = compose_configuration("train", ["network._target_=monai.networks.nets.AttentionUnet"])
    assert set(convert_to_plain(cfg.network)) == {"_target_", "weights", "spatial_dims", "channels", "strides"}


def test_what_stands_in_no_file_is_kept_so_that_a_mistyped_setting_is_an_error():
    cfg = compose_configuration("train", ["network._target_=myLab.networks.TwoScales", "+network.widht=4"])
    with pytest.raises(UserError, match="widht"):
        build_own_network(convert_to_plain(cfg.network), {"in_channels": 1, "out_channels": 5})


def test_settings_of_a_shipped_part_are_all_meant():
    cfg = compose_configuration("train", ["experiment=lesion_ct", "+network.widht=4"])
    assert "widht" in cfg.network


def test_a_cohort_and_a_split_by_name(tmp_path: Path):
    own = ["cohort._target_=myLab.cohort.pairs", f"cohort.root={tmp_path}", "split._target_=myLab.splits.hospitals"]
    cfg = compose_configuration("train", ["experiment=lesion_ct", *own])
    assert convert_to_plain(cfg.cohort) == {"_target_": "myLab.cohort.pairs", "root": str(tmp_path)}
    cases = [Case(f"{site}{number}", site, f"{site}{number}") for site in "ab" for number in range(2)]
    assert [split.fold for split in make_splits(cfg, cases)] == ["a", "b"]
    named = compose_configuration("train", ["experiment=lesion_ct", *own, "split.fold=b"])
    (split,) = make_splits(named, cases)
    assert split.test == ("b0", "b1")


def test_a_split_that_knows_nothing_of_folds_is_asked_for_all_and_the_named_one_taken():
    own = ["split._target_=myLab.splits.halves", "split.fold=second"]
    cases = [Case(name, "a", name) for name in "abcd"]
    (split,) = make_splits(compose_configuration("train", own), cases)
    assert split.test == ("c", "d")
    with pytest.raises(UserError, match="no fold third; there are first, second"):
        make_splits(compose_configuration("train", [own[0], "split.fold=third"]), cases)


def test_a_loss_may_be_a_class_or_a_function_and_the_tasks_own_is_the_default():
    by_name = {}
    for target in ("myLab.losses.SquaredError", "myLab.losses.not_a_number"):
        by_name[target] = build_parts_of_task(compose_configuration("train", [f"loss._target_={target}"]))["loss"]
    assert type(by_name["myLab.losses.SquaredError"]).__name__ == "SquaredError"
    assert by_name["myLab.losses.not_a_number"].func.__name__ == "not_a_number"
    default = compose_configuration("train", ["experiment=outcome"])
    assert type(build_parts_of_task(default)["loss"]).__name__ == "MaskedCrossEntropy"


def test_a_run_says_the_package_of_each_part_that_is_not_shipped_and_of_no_other():
    assert describe_packages_of(convert_to_plain(compose_configuration("train", ["experiment=outcome"]))) == {}
    cfg = compose_configuration("train", ["loss._target_=myLab.losses.SquaredError", "optimizer=sgd"])
    assert set(describe_packages_of(convert_to_plain(cfg))["packages"]) == {"myLab", "torch"}


def test_a_part_that_cannot_be_imported_is_said_before_anything_is_prepared():
    with pytest.raises(UserError, match=r"myLab\.networks\.Nett, which cannot be imported"):
        compose_configuration("train", ["network._target_=myLab.networks.Nett"])
