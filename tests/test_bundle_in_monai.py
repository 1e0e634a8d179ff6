"""MONAI's own command predicts with a bundle, where kicc_ml is not installed, what ``kicc-ml predict`` does."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nibabel as nib
import numpy as np
import pytest

from kicc_ml.dicom.series.image_files import write_nifti
from tests.support.bundled_run import SLICES, UNET, save_run
from tests.support.commands import KICC_ML, run
from tests.support.grey_value_network import phantom_ras

pytestmark = pytest.mark.slow

#: What Python runs first: these packages cannot be imported. It stands for an environment with MONAI alone.
WITHOUT = """
import sys
ABSENT = {"kicc_ml", "pandas", "rich", "pydicom", "highdicom", "SimpleITK", "pytorch_lightning", "hydra", "typer"}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""


def write_scans(folder: Path) -> Path:
    """One scan along its axes, one oblique, and one whose file does not state how it lies."""
    hu = np.kron(phantom_ras(), np.ones((2, 2, 2), np.int16)) + np.random.default_rng(0).integers(-40, 40, (48, 32, 24))
    turned = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.1, 0.2, 0.1) @ np.diag([4.0, 4.0, 6.0]), [5, 6, 7])
    write_nifti(folder / "plain.nii.gz", hu.astype(np.int16), np.diag([-4.0, -4.0, 6.0, 1.0]))
    write_nifti(folder / "oblique.nii", hu.astype(np.float32) + 0.5, turned)
    write_nifti(folder / "unstated.nii.gz", hu.astype(np.int16), np.diag([4.0, 4.0, 6.0, 1.0]), False)
    return folder


def run_monai(bundle: Path, without: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    without.mkdir(exist_ok=True)
    (without / "sitecustomize.py").write_text(WITHOUT)
    return subprocess.run(
        [sys.executable, "-m", "monai.bundle", *arguments],
        cwd=bundle,
        env=os.environ | {"PYTHONPATH": str(without), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


#: What MONAI's specification of bundles demands of metadata.json, and of each input and output of the network.
TEXTS = ("schema", "version", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors")
TEXTS += ("copyright",)
TENSOR = {
    **{"type": "string", "format": "string", "num_channels": "integer", "spatial_shape": "array", "dtype": "string"},
    "value_range": "array",
}


def make_schema() -> dict[str, Any]:
    """The demands as a JSON schema, which lies where MONAI's command would download its own to."""
    tensor = {"type": "object", "properties": _typed(TENSOR), "required": list(TENSOR)}
    tensors = {"type": "object", "additionalProperties": tensor, "minProperties": 1}
    ends = {"type": "object", "properties": {"inputs": tensors, "outputs": tensors}, "required": ["inputs", "outputs"]}
    kinds = dict.fromkeys(TEXTS, "string") | {"required_packages_version": "object"}
    properties = _typed(kinds) | {"network_data_format": ends}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _typed(kinds: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"type": kind} for name, kind in kinds.items()}


@pytest.mark.parametrize("lacking", ["", "copyright", "network_data_format"])
def test_monai_verifies_the_metadata(tmp_path: Path, lacking: str):
    bundle = tmp_path / "bundle"
    assert run(*KICC_ML, "bundle", save_run(tmp_path / "run", SLICES, UNET), "-o", bundle).returncode == 0
    file = bundle / "configs" / "metadata.json"
    metadata = json.loads(file.read_text())
    assert urlsplit(metadata["schema"]).scheme == "https"
    file.write_text(json.dumps({name: value for name, value in metadata.items() if name != lacking}))
    (tmp_path / "schema.json").write_text(json.dumps(make_schema()))
    where = ("--meta_file", "configs/metadata.json", "--filepath", str(tmp_path / "schema.json"))
    ran = run_monai(bundle, tmp_path / "no", "verify_metadata", *where)
    assert (ran.returncode == 0) == (not lacking), ran.stderr[-3000:]
    assert ("metadata is verified with no error" in ran.stdout + ran.stderr) == (not lacking)
    assert not lacking or f"'{lacking}' is a required property" in ran.stderr


def test_monais_command_gives_the_same_masks_without_kicc_ml(tmp_path: Path):
    folder, bundle = save_run(tmp_path / "run", SLICES, UNET, lesion_threshold=0.45), tmp_path / "bundle"
    scans = write_scans(tmp_path / "scans")
    assert run(*KICC_ML, "bundle", folder, "-o", bundle).returncode == 0
    assert run(*KICC_ML, "predict", "-i", scans, "-o", tmp_path / "ours", "--run", folder).returncode == 0
    where = ("--dataset_dir", str(scans), "--output_dir", str(tmp_path / "theirs"))
    ran = run_monai(
        bundle, tmp_path / "no", "run", "--config_file", "configs/inference.json", "--bundle_root", ".", *where
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    masks = sorted(path.relative_to(tmp_path / "theirs") for path in (tmp_path / "theirs").rglob("*.nii.gz"))
    expected = {path.relative_to(tmp_path / "ours") for path in (tmp_path / "ours").rglob("*.nii.gz")}
    assert set(masks) == {path for path in expected if path.name != "uncertain.nii.gz"}
    assert len(masks) == 5 + 5 + 3  # the sides of the lung are not known in the last
    for mask in masks:
        theirs, ours = nib.load(tmp_path / "theirs" / mask), nib.load(tmp_path / "ours" / mask)
        assert theirs.header.binaryblock == ours.header.binaryblock
        np.testing.assert_array_equal(np.asarray(theirs.dataobj), np.asarray(ours.dataobj), str(mask))
    voxels = [np.asarray(nib.load(tmp_path / "theirs" / mask).dataobj) for mask in masks]
    assert any(0 < mask.mean() < 1 for mask in voxels)


def test_monai_finds_that_the_networks_are_as_the_metadata_says(tmp_path: Path):
    assert run(*KICC_ML, "bundle", save_run(tmp_path / "run", SLICES), "-o", tmp_path / "bundle").returncode == 0
    configs = ("--meta_file", "configs/metadata.json", "--config_file", "configs/inference.json", "--device", "cpu")
    ran = run_monai(tmp_path / "bundle", tmp_path / "no", "verify_net_in_out", "network_def", *configs)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "no error" in ran.stdout + ran.stderr


def test_the_environment_of_these_tests_has_no_kicc_ml(tmp_path: Path):
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    tried = subprocess.run(
        [sys.executable, "-c", "import kicc_ml"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "No module named 'kicc_ml'" in tried.stderr
