"""A bundle says what it is, names no hospital and no patient, and needs no more than MONAI users have."""

import ast
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kicc_ml.core.errors import UserError
from kicc_ml.data.canonical import CanonicalCXR
from kicc_ml.data.own_transforms import OwnTransforms
from kicc_ml.prediction.bundle.configs import MODEL
from kicc_ml.prediction.bundle.write import write_bundle
from kicc_ml.runs.folder import load_folds
from tests.support.bundled_run import HOSPITAL, SLICES, UNET, save_run

#: What the modules in a bundle may import: MONAI, what it needs itself, and what reads NIfTI and finds components.
ALLOWED = {"torch", "monai", "numpy", "nibabel", "scipy", "scripts"}
#: What the schema that a bundle names requires (``meta_schema_20240725.json``).
REQUIRED = {
    **dict.fromkeys(("schema", "version", "monai_version", "pytorch_version", "numpy_version"), str),
    **dict.fromkeys(("task", "description", "authors", "copyright"), str),
    **dict.fromkeys(("required_packages_version", "network_data_format", "changelog"), dict),
}
TENSOR = {"type": str, "format": str, "num_channels": int, "spatial_shape": list, "dtype": str, "value_range": list}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(load_folds(save_run(folder / "run", SLICES, UNET)), folder / "bundle")
    return folder / "bundle"


def test_the_metadata_has_what_the_schema_of_monai_requires(bundle: Path):
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert {name: type(metadata.get(name)) for name in REQUIRED} == REQUIRED
    (image,), (pred,) = (metadata["network_data_format"][side].values() for side in ("inputs", "outputs"))
    for tensor in (image, pred):
        assert {name: type(tensor.get(name)) for name in TENSOR} == TENSOR
    assert list(pred["channel_def"].values()) == ["lung", "left_lung", "right_lung", "lesion", "consolidation"]


def test_its_code_imports_torch_monai_and_what_reads_nifti_alone(bundle: Path):
    modules = sorted((bundle / "scripts").rglob("*.py"))
    imported = set()
    for module in modules:
        for node in ast.parse(module.read_text()).body:  # outside of functions
            if isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).split(".")[0])
            elif isinstance(node, ast.Import):
                imported |= {name.name.split(".")[0] for name in node.names}
    assert imported - set(sys.stdlib_module_names) == ALLOWED
    assert {"slice_unet.py", "steps.py", "window_blend.py"} <= {module.name for module in modules}


def test_a_network_that_the_run_does_not_have_is_not_brought_along(tmp_path: Path):
    write_bundle(load_folds(save_run(tmp_path / "run", UNET)), tmp_path / "bundle")
    assert not list(tmp_path.rglob("slice_unet.py"))


def test_no_file_names_a_hospital_a_patient_or_a_path(bundle: Path):
    texts = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    assert len(texts) > 10
    for path, content in texts.items():
        for secret in (HOSPITAL, "patient-17", str(bundle.parent)):
            assert secret.encode() not in content, path


def test_the_model_is_tensors_by_name_read_without_executing_anything(bundle: Path):
    tensors = torch.load(bundle / MODEL, weights_only=True)
    assert {name.split(".")[1] for name in tensors} == {"0", "1"}


def test_a_folder_that_is_there_is_refused_and_stays_as_it_is(tmp_path: Path):
    folds = load_folds(save_run(tmp_path / "run", UNET))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        write_bundle(folds, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"canonical": CanonicalCXR()}, "segments radiographs"),
        ({"volume_transforms": OwnTransforms("volume", '{"own": {"_target_": "monai.transforms.Flipd"}}')}, "own"),
    ],
)
def test_a_run_that_no_bundle_can_hold_is_refused_and_leaves_no_folder(
    tmp_path: Path, changed: dict[str, Any], said: str
):
    (fold,) = load_folds(save_run(tmp_path / "run", UNET))
    with pytest.raises(UserError, match=said):
        write_bundle([replace(fold, settings=replace(fold.settings, **changed))], tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
