"""A fold that was damaged or made up is one sentence, before memory is taken and whatever is wrong with it."""

import json
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from kicc_ml.core.errors import UserError
from kicc_ml.core.files import write_json, write_yaml
from kicc_ml.models.baselines.clinical_model_as_numbers import ClinicalModel
from kicc_ml.models.baselines.radiograph_zones import ZONE_FEATURES, ZoneRidge
from kicc_ml.models.networks import build_network
from kicc_ml.runs.folder import (
    CLINICAL_MODEL,
    CONFIG,
    PLAN,
    WEIGHTS,
    ZONE_RIDGES,
    About,
    load_fold,
    load_plain,
    save_plain,
)
from kicc_ml.runs.settings import digest_of
from kicc_ml.runs.weights import write_weights
from tests.support.saved_fold import ABOUT, SETTINGS, save_fold

GIB = 2**30


def refused(folder: Path) -> str:
    """The one sentence by which a fold is refused."""
    with pytest.raises(UserError) as raised:
        load_fold(folder)
    assert "\n" not in str(raised.value)
    assert str(folder) in str(raised.value)
    return str(raised.value)


def header_end(content: bytes) -> int:
    return 8 + struct.unpack("<Q", content[:8])[0]


@pytest.mark.parametrize("place", [0.0, 0.3, 0.9])
def test_zeroed_bytes_of_weights_are_noticed(tmp_path: Path, place: float):
    save_fold(tmp_path)
    content = bytearray((tmp_path / WEIGHTS).read_bytes())
    first = header_end(content) + int(place * (len(content) - header_end(content) - 64))
    content[first : first + 64] = bytes(64)
    (tmp_path / WEIGHTS).write_bytes(content)
    assert "damaged" in refused(tmp_path)


def test_one_bit_of_weights_is_noticed(tmp_path: Path):
    save_fold(tmp_path)
    content = bytearray((tmp_path / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (tmp_path / WEIGHTS).write_bytes(content)
    assert "damaged" in refused(tmp_path)


def test_weights_beside_the_settings_of_another_training_are_refused(tmp_path: Path):
    save_fold(tmp_path)
    other = SETTINGS | {"data": SETTINGS["data"] | {"batch_size": 3}}
    write_yaml(tmp_path / CONFIG, other)
    assert "trained with other settings" in refused(tmp_path)


def test_weights_beside_the_plan_of_another_training_are_refused(tmp_path: Path):
    save_fold(tmp_path)
    write_yaml(tmp_path / PLAN, {"fields": {"spacing_mm": [1.0, 1.0, 1.0]}})
    assert "trained with other settings" in refused(tmp_path)


HUGE: dict[str, dict[str, Any]] = {
    "channels": {"channels": [2**30, 2**30]},
    "channels beyond any address": {"channels": [2**62, 2**62]},
    "units": {"num_res_units": 10**9},
    "levels": {"channels": [2] * 300, "strides": [1] * 299},
    "dimensions": {"spatial_dims": 10**6},
    "kernel": {"kernel_size": 10**5 + 1},
}


@pytest.mark.parametrize("name", HUGE)
def test_a_network_larger_than_its_file_is_refused_before_memory_is_taken(tmp_path: Path, name: str):
    settings = SETTINGS | {"network": SETTINGS["network"] | HUGE[name]}
    save_fold(tmp_path, settings)
    limit = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + GIB, limit[1]))
    try:
        assert "MemoryError" not in refused(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)


def changed(**data: Any) -> dict[str, Any]:
    return SETTINGS | {"data": SETTINGS["data"] | data}


def shown(**canonical: Any) -> dict[str, Any]:
    return changed(canonical=SETTINGS["data"]["canonical"] | canonical)


BAD_SETTINGS: dict[str, Any] = {
    "no data": {"network": SETTINGS["network"]},
    "data is a list": SETTINGS | {"data": [1]},
    "no network": {"data": SETTINGS["data"]},
    "network is none": SETTINGS | {"network": None},
    "a spacing of a micrometre": shown(spacing_mm=[0.001, 0.001, 0.001]),
    "a spacing of nothing": shown(spacing_mm=[0, 0, 0]),
    "a spacing of words": shown(spacing_mm="planned"),
    "a spacing that is no number": shown(spacing_mm=[float("nan")] * 3),
    "a window the wrong way round": shown(window_hu=[100, -1000]),
    "a window of one": shown(window_hu=[100]),
    "a matrix of millions": shown(matrix=[10**6, 10**6, 10**6]),
    "an unknown setting": shown(voxels=3),
    "a patch of billions": changed(patch_size=[4096, 4096, 4096]),
    "a patch of nothing": changed(patch_size=[0, 16, 16]),
    "a patch of truth": changed(patch_size=[True, 16, 16]),
    "a patch of two": changed(patch_size=[16, 16]),
    "no canonical": changed(canonical=None),
    "a radiograph of millions": changed(canonical={"_target_": "x.CanonicalCXR", "size": 10**6}),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_settings_that_no_image_can_be_shown_by_are_one_sentence(tmp_path: Path, name: str):
    save_fold(tmp_path, BAD_SETTINGS[name])
    refused(tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xfe", "서울: [1".encode(), "a: 서울".encode("euc-kr"), b"a: &a [*a]"])
def test_settings_that_are_no_text_are_one_sentence(tmp_path: Path, content: bytes):
    save_fold(tmp_path)
    (tmp_path / CONFIG).write_bytes(content)
    assert CONFIG in refused(tmp_path)


@pytest.mark.parametrize(
    "plan",
    [
        "[1]",
        "fields: [1]",
        "fields: {evil: 1}",
        "fields: {spacing_mm: [0, 0, 0]}",
        "other: {}",
        "fields: {filters: 1}",
        "",
    ],
)
def test_a_plan_that_is_none_is_one_sentence(tmp_path: Path, plan: str):
    save_fold(tmp_path)
    (tmp_path / PLAN).write_text(plan)
    refused(tmp_path)


BAD_ABOUT: dict[str, dict[str, Any]] = {
    "regions of its own": {"regions": ["../../etc"]},
    "sizes of words": {"sizes": {"in_channels": "1"}},
    "sizes of another call": {"sizes": {"in_channels": 1, "out_channels": 5, "spatial_dims": 2}},
    "a threshold of nine": {"lesion_threshold": 9},
    "units of its own": {"units": "parsec"},
    "a field of its own": {"command": "true"},
    "sites of numbers": {"sites": [1]},
}


@pytest.mark.parametrize("name", BAD_ABOUT)
def test_weights_that_say_nonsense_of_themselves_are_one_sentence(tmp_path: Path, name: str):
    save_fold(tmp_path)
    network = build_network(SETTINGS["network"], ABOUT.sizes)
    write_weights(tmp_path / WEIGHTS, network, vars(ABOUT) | BAD_ABOUT[name], digest_of(SETTINGS))
    refused(tmp_path)


def test_equal_weights_are_equal_files(tmp_path: Path):
    network = build_network(SETTINGS["network"], ABOUT.sizes)
    for number in range(8):
        write_weights(tmp_path / str(number), network, vars(ABOUT), digest_of(SETTINGS))
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_weights_of_another_program_are_one_sentence(tmp_path: Path):
    save_fold(tmp_path)
    save_file({"weight": torch.zeros(2)}, tmp_path / WEIGHTS)
    assert "another program" in refused(tmp_path)


CLINICAL = ClinicalModel(["age"], [60.0], [0], [1.0, 1.0], [0.0, 0.0], [1.0, 1.0], [0.1, 0.2], 0.0, 0.0, 1.0)


def spoil(path: Path, change: Callable[[dict], Any]) -> None:
    content = json.loads(path.read_text())
    write_json(path, change(content) or content)


BAD_MODELS: dict[str, Callable[[dict], Any]] = {
    "a list": lambda kept: [1],
    "no models": lambda kept: kept.pop("models"),
    "words for weights": lambda kept: kept["models"]["icu"].update(weight_i=["a", "b"]),
    "too few weights": lambda kept: kept["models"]["icu"].update(weight_i=[1.0]),
    "a mark of no column": lambda kept: kept["models"]["icu"].update(marked=[7]),
    "a model of its own": lambda kept: kept["models"]["icu"].update(command="true"),
    "about is a list": lambda kept: kept.update(about=[1]),
}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_a_clinical_model_that_is_none_is_one_sentence_when_it_is_read(tmp_path: Path, name: str):
    save_plain(tmp_path, CLINICAL_MODEL, About({"features": 1}, ["seoul"]), {"icu": CLINICAL})
    assert load_plain(tmp_path, CLINICAL_MODEL, ClinicalModel) is not None
    spoil(tmp_path / CLINICAL_MODEL, BAD_MODELS[name])
    with pytest.raises(UserError, match=rf"{CLINICAL_MODEL} cannot be read.*train the fold again$"):
        load_plain(tmp_path, CLINICAL_MODEL, ClinicalModel)


def test_a_ridge_of_too_few_zones_is_one_sentence(tmp_path: Path):
    about = About({"features": 1}, ["seoul"])
    save_plain(tmp_path, ZONE_RIDGES, about, {"opacity": ZoneRidge([0.0] * ZONE_FEATURES, 0.5)})
    loaded = load_plain(tmp_path, ZONE_RIDGES, ZoneRidge)
    assert loaded is not None
    np.testing.assert_array_equal(loaded.models["opacity"](np.zeros((1, ZONE_FEATURES))), [0.5])
    save_plain(tmp_path, ZONE_RIDGES, about, {"opacity": ZoneRidge([0.0], 0.5)})
    with pytest.raises(UserError, match=ZONE_RIDGES):
        load_plain(tmp_path, ZONE_RIDGES, ZoneRidge)


def test_settings_that_hold_an_interpolation_keep_it_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KICC_DICOMWEB_AUTHORIZATION", "Bearer SECRET")
    save_fold(tmp_path, SETTINGS | {"name": "${oc.env:KICC_DICOMWEB_AUTHORIZATION}"})
    assert load_fold(tmp_path).settings.values["name"] == "${oc.env:KICC_DICOMWEB_AUTHORIZATION}"
    assert yaml.safe_load((tmp_path / CONFIG).read_text())["name"].startswith("${oc.env")
