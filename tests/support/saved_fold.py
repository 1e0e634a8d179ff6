"""A fold with a small network, saved as a training saves it."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from torch import nn

from kicc_ml.core.files import write_table
from kicc_ml.models.networks import build_network
from kicc_ml.runs.folder import CONFIG, PREDICTIONS, About, save_network

SETTINGS = {
    "network": {
        "_target_": "monai.networks.nets.UNet",
        **{"spatial_dims": 3, "channels": [4, 8], "strides": [2], "num_res_units": 0},
    },
    "data": {
        "canonical": {
            "_target_": "kicc_ml.data.canonical.CanonicalCT",
            **{"spacing_mm": [3.0, 3.0, 5.0], "window_hu": [-1000.0, 500.0], "matrix": None},
        },
        "patch_size": [16, 16, 8],
    },
}
ABOUT = About({"in_channels": 1, "out_channels": 5}, ["부산", "seoul"], ["lung", "lesion"], units="arbitrary")


def save_fold(folder: Path, settings: dict[str, Any] = SETTINGS) -> nn.Module:
    """Save a network of random weights; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    network = build_network(SETTINGS["network"], ABOUT.sizes)
    (folder / CONFIG).write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
    save_network(folder, network, ABOUT, settings)
    write_table(folder / PREDICTIONS, pd.DataFrame({"case_id": ["a"]}))
    return network
