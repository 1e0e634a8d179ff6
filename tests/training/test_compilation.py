"""A compiled network is the same network: same weights, same names, and where it cannot be compiled one sentence."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch._inductor.runtime.cache_dir_utils import default_cache_dir
from torch.utils.data import DataLoader

from kicc_ml.core.errors import UserError
from kicc_ml.core.regions import REGIONS
from kicc_ml.data.augment.transform import AugmentConfig
from kicc_ml.models.ema import AveragedWeights
from kicc_ml.models.networks import build_network
from kicc_ml.models.segmentation import SegmentationTask
from kicc_ml.models.sliding_window import predict_by_sliding_window
from kicc_ml.training.compilation import CACHE_VARIABLE, CompiledSteps, set_cache_folder
from tests.support.patch_batches import patches

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

PATCH = (16, 16, 3)
STEPS = 3


class Compiler:
    """A compiler that runs what it is given as it is, and counts how often it was asked."""

    def __init__(self) -> None:
        self.shapes: list[torch.Size] = []

    def __call__(self, graph: Any, inputs: list[Any]) -> Callable[..., Any]:
        self.shapes += [one.shape for one in inputs if isinstance(one, Tensor) and one.ndim == 5 and one.shape[1] == 1]
        return graph.forward


class Patches(pl.LightningDataModule):
    """Three batches of noise to train on, and a volume of another size to validate on."""

    batch_size, patch_size = 2, PATCH

    def train_dataloader(self) -> DataLoader:
        return DataLoader([batch(seed, 2, PATCH) for seed in range(STEPS)], batch_size=None)

    def val_dataloader(self) -> DataLoader:
        return DataLoader([batch(9, 1, (32, 48, 7))], batch_size=None)


def batch(seed: int, size: int, shape: tuple[int, ...]) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(seed)
    image = torch.rand(size, 1, *shape, generator=draw)
    known = torch.ones(size, len(REGIONS), dtype=torch.bool)
    mask = (image > 0.5).float().expand(size, len(REGIONS), *shape)
    return {"image_bcxyz": image, "mask_bcxyz": mask, "mask_known_bc": known, "case_id": ["a"] * size}


def network() -> nn.Module:
    torch.manual_seed(0)
    settings = {"_target_": "kicc_ml.models.slice_unet.SliceUNet", "channels": [4, 8], "strides": [2], "dropout": 0.1}
    return build_network(settings, {"in_channels": 1, "out_channels": len(REGIONS)})


def trained(
    callbacks: list[pl.Callback],
    folder: Path,
    resumed: Path | None = None,
    steps: int = STEPS,
    data: pl.LightningDataModule | None = None,
    accumulated: int = 1,
) -> nn.Module:
    task = SegmentationTask(network(), PATCH, 1e-2, 0.0)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        accumulate_grad_batches=accumulated,
        callbacks=callbacks,
    )
    torch.manual_seed(1)
    trainer.fit(task, data or Patches(), ckpt_path=resumed, weights_only=True)
    trainer.save_checkpoint(folder)
    return task.network


def assert_equal(one: nn.Module, other: nn.Module) -> None:
    assert list(one.state_dict()) == list(other.state_dict())
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(tensor, other.state_dict()[name], msg=name)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(CACHE_VARIABLE, default_cache_dir())  # as torch sets it when it is imported


def test_a_compiled_training_ends_with_the_weights_and_names_of_one_that_is_not(tmp_path: Path):
    """Also where the gradients of two batches make a step, and weights are averaged over steps."""
    saved = []
    for one in (CompiledSteps(True, compiler := Compiler()), CompiledSteps(False)):
        trained([AveragedWeights(0.9), one], path := tmp_path / f"{len(saved)}.ckpt", accumulated=2)
        saved.append(torch.load(path, weights_only=True))
    assert compiler.shapes
    for weights in ("state_dict", "current_model_state"):
        assert set(saved[0][weights]) == {f"network.{name}" for name in network().state_dict()}
        for name, tensor in saved[0][weights].items():
            torch.testing.assert_close(tensor, saved[1][weights][name], msg=name)


def test_only_training_steps_are_compiled_and_only_once(tmp_path: Path):
    """Of patches as they come from a store, augmented and unpacked, and volumes of another size to validate on."""
    compiler = Compiler()
    data = patches(tmp_path, patch_size=PATCH, batch_size=2, patches_per_epoch=6, augment=AugmentConfig())
    trained([CompiledSteps(True, compiler)], tmp_path / "last.ckpt", data=data)
    assert compiler.shapes == [torch.Size((2, 1, *PATCH))]


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False])
def test_a_checkpoint_is_taken_up_with_and_without_compilation(first: bool, tmp_path: Path):
    whole = trained([CompiledSteps(False)], tmp_path / "whole.ckpt")
    trained([CompiledSteps(first, Compiler())], tmp_path / "half.ckpt", steps=STEPS - 1)
    taken_up = trained([CompiledSteps(not first, Compiler())], tmp_path / "end.ckpt", resumed=tmp_path / "half.ckpt")
    assert list(taken_up.state_dict()) == list(whole.state_dict())
    assert torch.load(tmp_path / "end.ckpt", weights_only=True)["global_step"] == STEPS


@pytest.mark.slow
def test_a_network_predicts_without_its_compiled_steps_after_the_training(tmp_path: Path):
    compiler = Compiler()
    result = trained([CompiledSteps(True, compiler)], tmp_path / "last.ckpt").eval()
    found = predict_by_sliding_window([result], torch.rand(1, 32, 32, 8), PATCH, range(len(REGIONS)))
    assert found.isfinite().all()
    assert len(compiler.shapes) == 1


def failing(graph: Any, inputs: list[Any]) -> Callable[..., Any]:
    raise ValueError("this graph has a step that nobody knows\nand a long second line")


def test_a_compiler_that_fails_is_one_sentence_and_the_training_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    went_on = trained([CompiledSteps(True, failing)], tmp_path / "last.ckpt")
    said = capsys.readouterr().err
    assert "without torch.compile" in said
    assert "a step that nobody knows" in said
    assert "second line" not in said
    assert_equal(went_on, trained([CompiledSteps(False)], tmp_path / "plain.ckpt"))


@pytest.mark.slow
def test_where_there_is_no_compiler_it_is_said_that_one_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    from torch._inductor import cpp_builder, exc

    def none_found(*_: Any) -> str:
        raise exc.InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none_found)
    trained([CompiledSteps(True)], tmp_path / "last.ckpt")
    assert "no working C++ compiler" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("device", "deterministic", "wanted", "compiles"),
    [
        ("cuda", False, "auto", True),
        ("cuda", True, "auto", False),
        ("cpu", False, "auto", False),
        ("cuda", True, True, True),
        ("cpu", False, True, True),
        ("cuda", False, False, False),
    ],
)
def test_auto_compiles_on_a_gpu_unless_the_training_is_deterministic(
    device: str, deterministic: bool, wanted: Any, compiles: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: deterministic)
    assert CompiledSteps(wanted).is_wanted(torch.device(device)) == compiles


def test_another_value_is_refused_with_the_values_there_are():
    with pytest.raises(UserError, match="compile=sometimes is none of auto, true and false"):
        CompiledSteps("sometimes")


def test_compiled_code_lies_in_the_cache_of_the_user(tmp_path: Path):
    set_cache_folder()
    assert os.environ[CACHE_VARIABLE].startswith(str(tmp_path / "cache"))


def test_a_folder_for_compiled_code_that_the_user_has_named_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "mine"))
    set_cache_folder()
    assert os.environ[CACHE_VARIABLE] == str(tmp_path / "mine")


def test_other_tasks_are_left_alone():
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cuda")), datamodule=None)
    CompiledSteps("auto").on_fit_start(trainer, pl.LightningModule())  # type: ignore[arg-type]
