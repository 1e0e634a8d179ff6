"""Networks as ONNX give what they give in PyTorch, or are left out."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kicc_ml.prediction.bundle import onnx_file
from kicc_ml.prediction.bundle.onnx_file import write_onnx
from kicc_ml.runs.folder import load_folds
from tests.support.bundled_run import SLICES, UNET, save_run

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")


def test_networks_give_the_same_in_onnx_for_any_number_of_patches(tmp_path: Path):
    folds = load_folds(save_run(tmp_path / "run", UNET, SLICES))
    assert write_onnx(folds, tmp_path) == "ONNX: 2 networks, checked against PyTorch"
    image_bcxyz = torch.rand(3, 1, 16, 16, 8)
    for place, fold in enumerate(folds):
        session = onnxruntime.InferenceSession(tmp_path / "models" / f"network_{place}.onnx")
        (logits_bcxyz,) = session.run(["logits"], {"image": image_bcxyz.numpy()})
        with torch.inference_mode():
            torch.testing.assert_close(torch.from_numpy(logits_bcxyz), fold.network(image_bcxyz), atol=1e-4, rtol=1e-4)


class NotInOnnx(nn.Module):
    """Uses an operator that ONNX does not have."""

    def forward(self, image_bcxyz: Tensor) -> Tensor:
        return torch.special.i1(image_bcxyz)


def test_what_onnx_has_no_operators_for_leaves_no_file_and_says_so(tmp_path: Path):
    (fold,) = load_folds(save_run(tmp_path / "run", UNET))
    said = write_onnx([type(fold)(fold.folder, NotInOnnx(), fold.about, fold.settings)], tmp_path)
    assert said.startswith("no ONNX of network 0: ")
    assert "\n" not in said
    assert list((tmp_path / "models").iterdir()) == []


def test_a_file_that_gives_something_else_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folds = load_folds(save_run(tmp_path / "run", UNET))
    monkeypatch.setattr(onnx_file, "MAX_DIFFERENCE", -1.0)
    assert "differ by" in write_onnx(folds, tmp_path)
    assert list((tmp_path / "models").iterdir()) == []


def test_without_the_extra_the_bundle_is_written_and_says_how_to_have_onnx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(onnx_file, "find_spec", lambda name: None)
    assert "pip install 'kicc_ml[onnx]'" in write_onnx([], tmp_path)
