"""Settings of a run are parsed once: what is stated has its type, what is wrong is one sentence that names the file."""

from pathlib import Path
from typing import Any

import pytest

from kicc_ml.core.errors import UserError
from kicc_ml.core.files import write_yaml
from kicc_ml.core.regions import CHEST
from kicc_ml.data.canonical import CanonicalCT, CanonicalCXR
from kicc_ml.runs.folder import CONFIG, PLAN, read_fold_settings
from kicc_ml.runs.settings import RunSettings, parse_settings

FILE = Path("run/seoul/config.yaml")
CT = {"_target_": "kicc_ml.data.canonical.CanonicalCT", "spacing_mm": [1.0, 1.0, 5.0], "window_hu": [-1000.0, 100.0]}


def parse(**values: Any) -> RunSettings:
    return parse_settings(values, FILE)


def test_what_is_stated_has_its_type():
    found = parse(
        cohort={"_target_": "x.repository"},
        split={"_target_": "kicc_ml.cohort.splits.leave_one_site_out", "fold": "seoul"},
        network={"_target_": "y.UNet"},
        data={"canonical": CT, "canonical_ct": CT, "canonical_cxr": {"size": 64}, "patch_size": [32, 32, 16]},
        seed=0,
    )
    assert found.canonical == found.canonical_ct == CanonicalCT((1.0, 1.0, 5.0), (-1000.0, 100.0))
    assert found.canonical_cxr == CanonicalCXR(64)
    assert (found.division, found.patch_size, found.seed) == ("leave_one_site_out", (32, 32, 16), 0)
    assert (found.cohort, found.network) == ({"_target_": "x.repository"}, {"_target_": "y.UNet"})


def test_a_radiograph_and_a_ct_are_told_apart_by_what_the_settings_name():
    assert parse(data={"canonical": {"_target_": "a.CanonicalCXR", "size": 64}}).canonical == CanonicalCXR(64)


def test_regions_transforms_and_packages_are_those_that_are_stated_and_nothing_is_built():
    regions = {"_target_": "kicc_ml.core.regions.make_region_set", "names": ["liver", "tumour"], "lesion": "tumour"}
    volume = {"smooth": {"_target_": "not_here.Smooth"}}
    found = parse(task={"regions": regions}, transforms={"volume": volume}, packages={"not_here": {}})
    assert (found.region_set.names, found.region_set.lesion) == (("liver", "tumour"), "tumour")
    assert found.volume_transforms.parts == [{"_target_": "not_here.Smooth"}]
    assert found.packages == {"not_here": {}}
    nothing = parse()
    assert (nothing.region_set, bool(nothing.volume_transforms), nothing.packages) == (CHEST, False, None)


def test_what_is_not_stated_is_none_and_named_where_it_is_needed():
    found = parse(seed="7; rm", data={"canonical_ct": None})
    nothing = (found.cohort, found.division, found.network, found.canonical, found.canonical_ct, found.patch_size)
    assert nothing == (None,) * 6
    assert found.seed is None
    with pytest.raises(UserError, match=r"seoul/config\.yaml does not state data\.patch_size; ask whoever trained"):
        found.require(found.patch_size, "data.patch_size")


@pytest.mark.parametrize(
    "values",
    [
        {"cohort": "demo"},
        {"split": ["a"]},
        {"network": 3},
        {"data": [1]},
        {"data": {"canonical": "planned"}},
        {"data": {"canonical": CT | {"spacing_mm": "planned"}}},
        {"data": {"canonical_ct": CT | {"window_hu": [5, 1]}}},
        {"data": {"canonical_ct": {"_target_": "a.CanonicalCXR", "size": 64}}},
        {"data": {"canonical_cxr": {"size": 10**6}}},
        {"data": {"canonical_cxr": {"size": 64, "evil": 1}}},
        {"data": {"patch_size": [4096] * 3}},
        {"data": {"patch_size": "planned"}},
        {"task": "chest"},
        {"task": {"regions": ["lung"]}},
        {"task": {"regions": {"names": []}}},
        {"task": {"regions": {"names": ["../lung"]}}},
        {"task": {"regions": {"names": ["lung"], "evil": 1}}},
        {"transforms": ["a"]},
        {"transforms": {"volume": "abc"}},
    ],
)
def test_a_setting_that_is_wrong_is_refused_when_it_is_read_whoever_reads_it(values: dict[str, Any]):
    with pytest.raises(UserError, match=r"seoul/config\.yaml: .*train it again"):
        parse_settings(values, FILE)


def test_the_plan_of_a_fold_is_filled_in_before_anything_is_checked(tmp_path: Path):
    write_yaml(tmp_path / CONFIG, {"data": {"canonical": CT | {"spacing_mm": "planned"}, "patch_size": "planned"}})
    write_yaml(tmp_path / PLAN, {"fields": {"spacing_mm": [2.0, 2.0, 4.0], "patch_size": [64, 64, 32]}})
    found = read_fold_settings(tmp_path)
    assert isinstance(found.canonical, CanonicalCT)
    assert (found.canonical.spacing_mm, found.patch_size) == ((2.0, 2.0, 4.0), (64, 64, 32))
    assert found.values["data"]["patch_size"] == [64, 64, 32]
