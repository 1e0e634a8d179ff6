"""Run folders of small networks, such as a bundle is written from."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from kicc_ml.core.files import write_table
from kicc_ml.core.regions import REGIONS
from kicc_ml.models.networks import build_network
from kicc_ml.runs.folder import CONFIG, PREDICTIONS, About, save_network

UNET = {
    "_target_": "monai.networks.nets.UNet",
    **{"spatial_dims": 3, "channels": [4, 8], "strides": [2], "num_res_units": 0},
}
SLICES = {
    "_target_": "kicc_ml.models.slice_unet.SliceUNet",
    **{"channels": [4, 8], "strides": [2], "num_res_units": 0},
}
#: What no bundle may name.
HOSPITAL = "부산-hospital"


def save_run(folder: Path, *networks: dict[str, Any], spacing_mm: float = 3.0, **about: Any) -> Path:
    """Save a run with a fold for each network; the second and further ones take voxels of other sizes.

    The networks have random weights, whose probabilities are spread around one half.
    """
    for number, network in enumerate(networks):
        torch.manual_seed(number)
        stated = About({"in_channels": 1, "out_channels": 5}, [HOSPITAL], list(REGIONS), **about)
        built = build_network(network, stated.sizes)
        canonical = {
            "_target_": "kicc_ml.data.canonical.CanonicalCT",
            **{"spacing_mm": [spacing_mm + number] * 2 + [5.0], "window_hu": [-1000.0, 500.0], "matrix": None},
        }
        settings = {"network": network, "data": {"canonical": canonical, "patch_size": [16, 16, 8]}}
        fold = folder / f"{HOSPITAL}-{number}"
        fold.mkdir(parents=True)
        (fold / CONFIG).write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
        save_network(fold, built.eval(), stated, settings)
        write_table(fold / PREDICTIONS, pd.DataFrame({"case_id": ["patient-17"]}))
    return folder
