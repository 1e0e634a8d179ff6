"""The files of a bundle that MONAI reads: how it predicts (``inference.json``), and what it is (``metadata.json``)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from kicc_ml import __version__
from kicc_ml.core.regions import RegionSet
from kicc_ml.data.canonical import CanonicalCT
from kicc_ml.models.networks import WEIGHTS
from kicc_ml.models.segmenter import Segmenter
from kicc_ml.prediction.bundle import steps
from kicc_ml.prediction.bundle.modules import SCRIPTS, copied_name
from kicc_ml.runs.folder import Fold

#: The schema by which MONAI's own ``verify_metadata`` judges a bundle.
SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
#: What a bundle needs beside what MONAI itself needs.
PACKAGES = ("nibabel", "scipy", "pytorch-ignite")
MODEL = "models/model.pt"


def make_inference(folds: Sequence[Fold], segmenter: Segmenter) -> dict[str, Any]:
    """Make ``inference.json``: a workflow of MONAI from a folder of NIfTI files to a folder of masks.

    Args:
        folds: the folds, whose networks have this order.
        segmenter: made of them.
    """
    shared = {
        **{"regions": list(segmenter.regions), "units": segmenter.units, "spacing_known": segmenter.spacing_known},
        **{"lesion_threshold": segmenter.lesion_threshold, "tta_mirrors": [list(one) for one in segmenter.tta_mirrors]},
    }
    load = _call("LoadScand", keys="image", units=segmenter.units, spacing_known=segmenter.spacing_known)
    save = _call("SaveRegionsd", keys="pred", image_key="image", regions=shared["regions"], folder="@output_dir")
    regions = _region_settings(segmenter.region_set)
    return {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/scans'",
        "output_dir": "$@bundle_root + '/results'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": _call("NetworkEnsemble", networks=[_network_settings(fold) for fold in folds]),
        "network": "$@network_def.to(@device)",
        "datalist": _call("list_scans", folder="@dataset_dir"),
        "preprocessing": {"_target_": "Compose", "transforms": [load]},
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": _call("ScanInferer", groups=_groups(folds), segmenter=shared, region_set=regions),
        "postprocessing": {"_target_": "Compose", "transforms": [save]},
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": f"$@bundle_root + '/{MODEL}'",
                "load_dict": {"model": "@network"},
                "map_location": "@device",
            }
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "run": ["$@evaluator.run()"],
    }


def _call(name: str, **parameters: Any) -> dict[str, Any]:
    return {"_target_": f"{copied_name(steps.__name__)}.{name}", **parameters}


def _network_settings(fold: Fold) -> dict[str, Any]:
    own = dict(fold.settings.require(fold.settings.network, "network"))
    own.pop(WEIGHTS, None)
    return {**own, "_target_": copied_name(own["_target_"]), **fold.about.sizes}


def _groups(folds: Sequence[Fold]) -> list[dict[str, Any]]:
    """Group the networks by kind and by the voxels that they take, in the order of a segmenter's companions."""
    groups: dict[Any, dict[str, Any]] = {}
    for place, fold in enumerate(folds):
        canonical = fold.canonical
        assert isinstance(canonical, CanonicalCT)
        group = {"networks": [], "canonical": asdict(canonical), "patch_size": list(fold.patch_size)}
        kind = _network_settings(fold)["_target_"]
        groups.setdefault((canonical, kind), group)["networks"].append(place)
    return list(groups.values())


def _region_settings(regions: RegionSet) -> dict[str, Any]:
    return {**asdict(regions), "derived": dict(regions.derived)}


def make_metadata(folds: Sequence[Fold], segmenter: Segmenter) -> dict[str, Any]:
    """Make ``metadata.json``.

    Args:
        folds: the folds.
        segmenter: made of them.
    """
    learnt = ", ".join(segmenter.regions)
    hospitals = len({site for fold in folds for site in fold.about.sites})
    packages = {_network_settings(fold)["_target_"].split(".")[0] for fold in folds} - {"monai", SCRIPTS}
    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": f"written by kicc_ml {__version__}"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").split("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {name: _version(name) for name in (*PACKAGES, *sorted(packages))},
        "task": f"Segmentation of chest CT: {learnt}",
        "description": f"{len(folds)} networks, trained on {hospitals} hospitals, segment {learnt} on a CT's own grid",
        "authors": "state here who trained the networks",
        "copyright": "state here who owns the weights",
        "data_type": "nifti",
        "image_classes": f"one channel: a CT in {'HU' if segmenter.units == 'hu' else 'grey values'}",
        "pred_classes": f"a mask (uint8, 0 or 1) for each of {learnt}",
        "intended_use": "research; this is no medical device",
        "network_data_format": _network_data_format(folds[0].patch_size, segmenter.region_set),
    }


def _version(package: str) -> str:
    """Find the version of a package; "" for one that states none, such as a folder in PYTHONPATH."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _network_data_format(patch_size: Sequence[int], regions: RegionSet) -> Mapping[str, Any]:
    """Describe input and output of the ensemble, which the sliding window calls on patches."""
    patch = {"spatial_shape": list(patch_size), "dtype": "float32", "value_range": [0, 1], "is_patch_data": True}
    channels = {str(channel): name for channel, name in enumerate(regions.names)}
    image = {"type": "image", "format": "hounsfield", "modality": "CT", "num_channels": 1, **patch}
    pred = {"type": "probabilities", "format": "segmentation", "num_channels": len(channels), **patch}
    return {
        "inputs": {"image": {**image, "channel_def": {"0": "CT on the networks' grid, scaled to 0..1"}}},
        "outputs": {"pred": {**pred, "channel_def": channels}},
    }
