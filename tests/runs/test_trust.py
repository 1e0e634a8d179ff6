"""A run with parts of somebody's package: refused, unless that package is trusted, here and the same."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from kicc_ml.core.errors import UserError
from kicc_ml.core.files import write_table
from kicc_ml.core.parts import PACKAGES, describe_package, describe_packages
from kicc_ml.models.networks import build_own_network
from kicc_ml.runs.folder import CONFIG, PREDICTIONS, About, load_fold, save_network
from kicc_ml.runs.run_cohort import RunCohort
from kicc_ml.runs.settings import parse_settings

SUPPORT = Path(__file__).resolve().parents[1] / "support"
ABOUT = About({"in_channels": 1, "out_channels": 5}, ["seoul"], ["lesion"])
NETWORK = {"_target_": "myLab.networks.TwoScales", "width": 3}
SETTINGS: dict[str, Any] = {
    "network": NETWORK,
    "cohort": {"_target_": "myLab.cohort.pairs"},
    "data": {
        "canonical": {"_target_": "kicc_ml.data.canonical.CanonicalCT", "spacing_mm": [3.0, 3.0, 5.0]},
        "patch_size": [16, 16, 8],
    },
}


@pytest.fixture(autouse=True)
def lab(monkeypatch: pytest.MonkeyPatch) -> None:
    """``myLab`` is installed."""
    monkeypatch.syspath_prepend(SUPPORT)
    describe_package.cache_clear()


def save_fold(folder: Path, **changes: Any) -> torch.nn.Module:
    settings = SETTINGS | {PACKAGES: describe_packages(SETTINGS, ["kicc_ml.data.canonical.CanonicalCT"])} | changes
    torch.manual_seed(0)
    network = build_own_network(NETWORK, ABOUT.sizes)
    (folder / CONFIG).write_text(yaml.safe_dump(settings), encoding="utf-8")
    save_network(folder, network, ABOUT, settings)
    write_table(folder / PREDICTIONS, pd.DataFrame({"case_id": ["a"]}))
    return network


def test_a_network_of_a_package_is_refused_without_trust_and_the_remedy_said(tmp_path: Path):
    save_fold(tmp_path)
    with pytest.raises(UserError, match=r"names myLab\.networks\.TwoScales.*--trust myLab") as caught:
        load_fold(tmp_path)
    assert "train it again" not in str(caught.value)


def test_trust_is_asked_for_before_the_settings_are_compared_with_the_weights(tmp_path: Path):
    save_fold(tmp_path)
    changed = SETTINGS | {"transforms": {"volume": {"evil": {"_target_": "os.getpid"}}}}
    (tmp_path / CONFIG).write_text(yaml.safe_dump(changed | {"network": NETWORK}), encoding="utf-8")
    with pytest.raises(UserError, match="names myLab"):
        load_fold(tmp_path)
    del changed["network"]
    (tmp_path / CONFIG).write_text(yaml.safe_dump(changed), encoding="utf-8")
    with pytest.raises(UserError, match=r"names os\.getpid"):
        load_fold(tmp_path)


def test_with_trust_it_gives_the_logits_that_it_gave(tmp_path: Path):
    network = save_fold(tmp_path).eval()
    image_bcxyz = torch.rand(1, 1, 16, 16, 8)
    found = load_fold(tmp_path, trust=["myLab"]).network(image_bcxyz)
    torch.testing.assert_close(found, network(image_bcxyz), rtol=0, atol=0)


def test_trust_in_another_package_is_no_trust(tmp_path: Path):
    save_fold(tmp_path)
    with pytest.raises(UserError, match="--trust myLab"):
        load_fold(tmp_path, trust=["monai", "myLabs"])


def test_a_package_of_another_version_is_refused_with_both(tmp_path: Path):
    save_fold(tmp_path, **{PACKAGES: {"myLab": {"version": "0.1", "digest": "0"}}})
    with pytest.raises(UserError, match=r"trained with myLab 0\.1 and here is 0\.4; install myLab 0\.1"):
        load_fold(tmp_path, trust=["myLab"])


def test_weights_of_another_network_of_the_package_are_refused(tmp_path: Path):
    save_fold(tmp_path, network=NETWORK | {"width": 5})
    with pytest.raises(UserError, match="describe another network than its weights are of"):
        load_fold(tmp_path, trust=["myLab"])


def test_a_part_of_another_package_within_the_settings_stays_refused(tmp_path: Path):
    save_fold(tmp_path, network=NETWORK | {"width": {"_target_": "os.getpid"}})
    with pytest.raises(UserError, match=r"os\.getpid"):
        load_fold(tmp_path, trust=["myLab"])


def test_a_cohort_of_a_package_is_read_where_the_user_says_and_with_trust_alone(tmp_path: Path):
    packages = {PACKAGES: describe_packages(SETTINGS["cohort"], ())}
    settings = parse_settings(SETTINGS | packages, tmp_path / CONFIG)
    with pytest.raises(UserError, match="--trust myLab"):
        RunCohort(tmp_path).read(settings, tmp_path)
    assert RunCohort(tmp_path, trust=("myLab",)).read(settings, tmp_path) == []


def test_a_received_cohort_of_a_trusted_package_reads_no_place_that_the_run_names(tmp_path: Path):
    nested = {"_target_": "kicc_ml.cohort.public.synthetic.synthetic", "root": str(tmp_path / "elsewhere")}
    packages = {PACKAGES: describe_packages(SETTINGS["cohort"], ())}
    changed = SETTINGS | packages | {"cohort": SETTINGS["cohort"] | {"base": nested}}
    settings = parse_settings(changed, tmp_path / CONFIG)
    with pytest.raises(UserError, match="from a place that the run names"):
        RunCohort(tmp_path, trust=("myLab",)).read(settings, tmp_path)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"_partial_": True}, "gives no list of cases"),
        ({"_target_": "myLab.cohort.Case"}, "lies in the package kicc_ml"),
        ({"region": ["no", "name"]}, "cannot be made of its settings"),
        ({"depth": 3}, "cannot be made of its settings"),
    ],
)
def test_settings_that_make_the_cohort_of_a_package_fail_are_one_sentence(
    tmp_path: Path, changes: dict[str, Any], said: str
):
    (tmp_path / "seoul").mkdir()
    (tmp_path / "seoul" / "a_ct.nii.gz").write_bytes(b"-")
    packages = {PACKAGES: describe_packages(SETTINGS["cohort"], ())}
    settings = parse_settings(SETTINGS | packages | {"cohort": SETTINGS["cohort"] | changes}, tmp_path / CONFIG)
    with pytest.raises(UserError, match=said):
        RunCohort(tmp_path, trust=("myLab",)).read(settings, tmp_path)


def test_a_cohort_of_a_package_that_fails_in_its_own_way_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(root: Path) -> None:
        raise KeyError("a table")

    fail.__module__ = "myLab.cohort"
    monkeypatch.setattr("myLab.cohort.pairs", fail)
    packages = {PACKAGES: describe_packages(SETTINGS["cohort"], ())}
    settings = parse_settings(SETTINGS | packages, tmp_path / CONFIG)
    with pytest.raises(UserError, match="fails with these settings: KeyError"):
        RunCohort(tmp_path, trust=("myLab",)).read(settings, tmp_path)


def test_trust_in_monai_lets_no_run_execute_anything(tmp_path: Path):
    made = tmp_path / "made"
    command = {
        "_target_": "monai.transforms.LoadImaged",
        "keys": "image",
        "reader": "os.system",
        "command": f"touch {made}",
    }
    packages = {PACKAGES: describe_packages({"network": NETWORK, "volume": command}, ())}
    save_fold(tmp_path, transforms={"volume": {"one": command}}, **packages)
    with pytest.raises(UserError, match=r"monai\.transforms\.LoadImaged"):
        _ = load_fold(tmp_path, trust=["myLab", "monai"]).canonical.own.compose
    assert not made.exists()
