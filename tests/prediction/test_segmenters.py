"""Folds of a run become one segmenter, also where each fold has chosen a network of its own."""

from pathlib import Path

from torch import nn

from kicc_ml.prediction.segmenters import make_segmenter
from kicc_ml.runs.folder import About, Fold
from kicc_ml.runs.settings import parse_settings

CANONICAL = {"_target_": "kicc_ml.data.canonical.CanonicalCT", "spacing_mm": [2.0, 2.0, 4.0]}


def fold(name: str, network: str, patch_size: list[int]) -> Fold:
    values = {"network": {"_target_": network}, "data": {"canonical": CANONICAL, "patch_size": patch_size}}
    settings = parse_settings(values, Path(name) / "config.yaml")
    return Fold(Path(name), nn.Identity(), About({}, ["seoul"], ["lesion"]), settings)


def test_a_network_of_another_kind_is_asked_with_the_patches_it_was_trained_on():
    unet, swin = "monai.networks.nets.UNet", "monai.networks.nets.SwinUNETR"
    made = make_segmenter([fold("a", unet, [24, 24, 8]), fold("b", swin, [64, 64, 32]), fold("c", unet, [24, 24, 8])])
    (companion,) = made.companions
    assert (len(made.networks), list(made.patch_size)) == (2, [24, 24, 8])
    assert (len(companion.networks), list(companion.patch_size)) == (1, [64, 64, 32])
