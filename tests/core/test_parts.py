"""Parts by name: who may name what, and what is said of a package that is missing or another one."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kicc_ml.core.errors import UserError
from kicc_ml.core.parts import build_part, describe_package, describe_packages, find_part, refuse_untrusted, targets_in

NAME = "a_lab_of_its_own"
NET = {"_target_": f"{NAME}.nets.Net", "width": 3}
CODE = """
import os
from datetime import date

class Net:
    def __init__(self, width, inner=None):
        self.width, self.inner = width, inner
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of somebody's, version 0.3, importable while the test runs."""
    folder = tmp_path / NAME
    folder.mkdir()
    (folder / "__init__.py").write_text("__version__ = '0.3'\n")
    (folder / "nets.py").write_text(CODE)
    (folder / "broken.py").write_text("raise OSError('no licence')")
    monkeypatch.syspath_prepend(tmp_path)
    describe_package.cache_clear()
    yield folder
    describe_package.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == NAME]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "target", ["no_such_package.Net", f"{NAME}.nets.Nett", f"{NAME}.broken.Net", "no name at all", "", "os.sep"]
)
def test_what_cannot_be_imported_or_called_is_named_in_one_sentence(lab: Path, target: str):
    with pytest.raises(UserError) as caught:
        find_part(target)
    assert f"the settings name {target}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_parts_within_parts_are_built_first_and_partial_ones_not_yet(lab: Path):
    inner = {"_target_": f"{NAME}.nets.Net", "_partial_": True}
    made = build_part({**NET, "inner": [inner, {"plain": 1}]})
    assert made.inner[0](width=7).width == 7
    assert made.inner[1] == {"plain": 1}


def test_a_part_that_does_not_take_its_settings_says_which(lab: Path):
    with pytest.raises(UserError, match=r"nets\.Net cannot be made of its settings.*depth"):
        build_part({**NET, "depth": 3})


def test_every_target_is_found_wherever_it_stands():
    assert list(targets_in({"a": [{"_target_": "x.Y", "b": ({"_target_": "z"},)}]})) == ["x.Y", "z"]


def test_a_run_keeps_version_and_digest_of_what_is_not_shipped(lab: Path):
    kept = describe_packages({"network": NET, "split": {"_target_": "kicc_ml.cohort.splits.all_cases"}}, ())
    assert set(kept) == {NAME}
    assert kept[NAME]["version"] == "0.3"
    assert len(kept[NAME]["digest"]) == 64


def test_the_digest_follows_every_source_file_and_its_name(lab: Path):
    seen = {describe_package(NAME).digest}
    for change in (
        lambda: (lab / "nets.py").write_text(CODE + "# more"),
        lambda: (lab / "nets.py").rename(lab / "networks.py"),
    ):
        change()
        describe_package.cache_clear()
        seen.add(describe_package(NAME).digest)
    assert len(seen) == 3


def test_without_trust_nothing_of_a_received_part_is_imported(lab: Path):
    with pytest.raises(UserError, match=f"--trust {NAME}"):
        refuse_untrusted(NET, (), (), describe_packages(NET, ()))
    assert f"{NAME}.nets" not in sys.modules


@pytest.mark.parametrize("hidden", ["os.system", "builtins.eval", "pathlib.Path"])
def test_trust_in_one_package_does_not_reach_what_hides_within_its_settings(lab: Path, hidden: str):
    settings = {**NET, "inner": [{"_target_": hidden}]}
    with pytest.raises(UserError, match=hidden):
        refuse_untrusted(settings, (), [NAME], describe_packages(NET, ()))


@pytest.mark.parametrize("target", [f"{NAME}.nets.os.system", f"{NAME}.nets.date", f"{NAME}.nets.os.path.join"])
def test_trust_in_a_package_does_not_reach_what_it_imports_from_elsewhere(lab: Path, target: str):
    settings = {"_target_": target}
    with pytest.raises(UserError, match="lies in the package"):
        refuse_untrusted(settings, (), [NAME], describe_packages(NET, ()))


def test_a_trusted_package_as_it_was_is_accepted(lab: Path):
    refuse_untrusted(NET, (), [NAME], describe_packages(NET, ()))


def test_what_is_shipped_needs_no_trust():
    refuse_untrusted({"_target_": "kicc_ml.a.B"}, ["kicc_ml.a.B"], (), None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": "0.2"}, rf"trained with {NAME} 0\.2 and here is 0\.3; install {NAME} 0\.2"),
        ({"version": ""}, "without a version"),
        ({"digest": "0" * 64}, "are not those that it was trained with"),
    ],
)
def test_another_package_of_that_name_is_refused_with_what_differs(lab: Path, changes: dict[str, str], said: str):
    kept = describe_packages(NET, ())
    kept[NAME] |= changes
    with pytest.raises(UserError, match=said):
        refuse_untrusted(NET, (), [NAME], kept)


@pytest.mark.parametrize("kept", [None, {}, [], {NAME: "0.3"}, "0.3"])
def test_a_run_that_does_not_say_its_packages_is_refused(lab: Path, kept: object):
    with pytest.raises(UserError, match=f"does not say which {NAME}"):
        refuse_untrusted(NET, (), [NAME], kept)


def test_a_trusted_package_that_is_not_here_is_one_sentence():
    with pytest.raises(UserError, match="nobody_has_this is not installed here"):
        refuse_untrusted(
            {"_target_": "nobody_has_this.Net"}, (), ["nobody_has_this"], {"nobody_has_this": {"version": "1"}}
        )


def test_a_module_that_ends_python_is_one_sentence(lab: Path):
    (lab / "script.py").write_text("import sys; sys.exit(0)")
    with pytest.raises(UserError, match=rf"{NAME}\.script\.main, which cannot be imported"):
        find_part(f"{NAME}.script.main")


#: Everybody trusts these packages, and with these parts of theirs a run folder reads, writes or executes what it likes.
TOO_MUCH = [
    *("monai.bundle.run", "monai.bundle.scripts.run", "monai.bundle.ConfigWorkflow", "monai.apps.download_url"),
    *("monai.transforms.LoadImaged", "monai.transforms.io.array.SaveImage", "monai.data.PersistentDataset"),
    *("torch.load", "torch.hub.load", "torch.utils.cpp_extension.load", "numpy.load", "pandas.read_pickle"),
    *("hydra.utils.call", "yaml.unsafe_load", "joblib.load", "os.system", "builtins.eval", "functools.partial"),
    *("kicc_ml.core.parts.find_part", "kicc_ml.synthetic.repository.synthesize"),
]


@pytest.mark.parametrize("target", TOO_MUCH)
@pytest.mark.parametrize("nested", [False, True])
def test_trust_in_a_library_reaches_its_networks_and_transforms_alone(target: str, nested: bool):
    part = {"_target_": target}
    settings = {"_target_": "torch.nn.Sequential", "args": [{"_partial_": True, **part}]} if nested else part
    packages = {name: vars(describe_package(name)) for name in {"torch", target.split(".")[0]}}
    with pytest.raises(UserError) as caught:
        refuse_untrusted(settings, (), ["torch", target.split(".")[0], "posix", "_io"], packages)
    assert f"names {target}, which" in str(caught.value)
    assert "if you trust" not in str(caught.value), "nobody is told to trust it"


@pytest.mark.parametrize("target", ["monai.networks.nets.AttentionUnet", "monai.transforms.Compose", "torch.nn.GELU"])
def test_networks_and_transforms_of_libraries_are_taken_with_trust(target: str):
    name = target.split(".")[0]
    packages = {name: vars(describe_package(name))}
    refuse_untrusted({"_target_": target}, (), [name], packages)
    with pytest.raises(UserError, match=f"--trust {name}"):
        refuse_untrusted({"_target_": target}, (), (), packages)


@pytest.mark.parametrize("place", ["/etc/passwd", "../weights.pt", "https://evil.example/x", "a\\b"])
def test_a_library_gets_no_file_or_address_from_a_run(place: str):
    settings = {"_target_": "monai.networks.nets.resnet18", "more": [{"pretrained": place}]}
    with pytest.raises(UserError, match="file or address"):
        refuse_untrusted(settings, (), ["monai"], {"monai": vars(describe_package("monai"))})


def test_who_typed_the_whole_name_of_a_part_is_trusted_to_know_it():
    settings = {"_target_": "monai.transforms.LoadImaged", "keys": "a/b"}
    refuse_untrusted(settings, (), ["monai.transforms.LoadImaged"], {"monai": vars(describe_package("monai"))})
