"""Folds of a run become one segmenter, also where each fold has chosen a network of its own."""

from pathlib import Path

from torch import nn

from kicc_ml.prediction.segmenters import make_segmenter
from kicc_ml.runs.folder import About, Fold
from kicc_ml.runs.settings import parse_settings

CANONICAL = {"_target_": "kicc_ml.data.canonical.CanonicalCT", "spacing_mm": [2.0, 2.0, 4.0]}


def fold(name: str, network: str, patch_size: list[int], **planned: object) -> Fold:
    values = {"network": {"_target_": network, **planned}, "data": {"canonical": CANONICAL, "patch_size": patch_size}}
    settings = parse_settings(values, Path(name) / "config.yaml")
    return Fold(Path(name), nn.Identity(), About({}, ["seoul"], ["lesion"]), settings)


def test_a_network_of_another_kind_is_asked_with_the_patches_it_was_trained_on():
    unet, swin = "monai.networks.nets.UNet", "monai.networks.nets.SwinUNETR"
    made = make_segmenter([fold("a", unet, [24, 24, 8]), fold("b", swin, [64, 64, 32]), fold("c", unet, [24, 24, 8])])
    (companion,) = made.companions
    assert (len(made.networks), list(made.patch_size)) == (2, [24, 24, 8])
    assert (len(companion.networks), list(companion.patch_size)) == (1, [64, 64, 32])


def test_folds_whose_plans_halve_an_axis_another_number_of_times_are_asked_apart():
    unet, patch = "monai.networks.nets.UNet", [24, 24, 8]
    often, rarely = ({"strides": [2] * halvings} for halvings in (3, 2))
    made = make_segmenter([fold("a", unet, patch, **rarely), fold("b", unet, [32, 32, 8], **often)])
    (companion,) = made.companions
    assert (list(made.patch_size), list(companion.patch_size)) == (patch, [32, 32, 8])
