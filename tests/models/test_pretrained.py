"""Weights from elsewhere: what fits is loaded and named, another network is refused, nothing is executed."""

import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from monai.networks.nets import SegResNetDS, UNet
from safetensors.torch import save_file
from torch import nn

from kicc_ml.core.errors import UserError
from kicc_ml.models.networks import build_own_network
from kicc_ml.models.pretrained import FreezeLoaded, find_weights, load_into, read_tensors


def unet(seed: int, outputs: int = 2) -> UNet:
    torch.manual_seed(seed)
    return UNet(3, 1, outputs, (4, 8), (2,), num_res_units=0)


def same(one: nn.Module, other: nn.Module) -> set[str]:
    """Names of the tensors that are equal."""
    theirs = other.state_dict()
    return {name for name, tensor in one.state_dict().items() if torch.equal(tensor, theirs[name])}


@pytest.mark.parametrize("kind", ["safetensors", "state dict", "within a bundle's file"])
def test_weights_of_the_same_network_are_all_loaded(tmp_path: Path, kind: str):
    theirs, ours = unet(1), unet(2)
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "model.pt")
    if kind == "safetensors":
        save_file(theirs.state_dict(), path)
    else:
        torch.save(
            theirs.state_dict() if kind == "state dict" else {"state_dict": theirs.state_dict(), "epoch": 3}, path
        )
    report = load_into(ours, read_tensors(path), {}, 1.0)
    assert same(ours, theirs) == set(theirs.state_dict())
    assert (report.missing, report.unexpected) == ((), ())


def test_another_head_is_left_as_it_is_and_named():
    theirs, ours, before = unet(1, outputs=5), unet(2), unet(2)
    report = load_into(ours, theirs.state_dict(), {}, 0.5)
    assert set(report.loaded) == same(ours, theirs)
    assert report.missing
    assert set(report.missing) <= same(ours, before)
    assert all(name in str(report) for name in report.missing)


def test_names_are_mapped_by_their_beginning():
    theirs, ours = unet(1), unet(2)
    tensors = {f"module.net.{name}": tensor for name, tensor in theirs.state_dict().items()} | {"step": torch.ones(1)}
    report = load_into(ours, tensors, {"module.net.": ""}, 1.0)
    assert same(ours, theirs) == set(theirs.state_dict())
    assert report.unexpected == ("step",)


def test_weights_of_another_network_are_refused_and_nothing_is_loaded():
    ours, before = unet(2), unet(2)
    with pytest.raises(UserError, match=r"of another network: 0 of \d+ tensors loaded.*unexpected: 0\.weight"):
        load_into(ours, nn.Sequential(nn.Linear(2, 2)).state_dict(), {}, 0.5)
    assert same(ours, before) == set(before.state_dict())


class Evil:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path("executed"),)


def test_a_pickle_is_refused_and_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Evil()}, "torch.pt")
    Path("plain.pt").write_bytes(pickle.dumps(Evil()))
    for name in ("torch.pt", "plain.pt"):
        with pytest.raises(UserError, match="cannot be read as weights"):
            read_tensors(Path(name))
    assert not Path("executed").exists()


def test_a_run_gives_the_weights_of_its_one_fold_and_of_several_asks_which(tmp_path: Path):
    with pytest.raises(UserError, match="no such file or run folder"):
        find_weights(tmp_path / "nowhere")
    for fold in ("busan", "seoul"):
        (tmp_path / fold).mkdir()
        (tmp_path / fold / "weights.safetensors").touch()
        assert find_weights(tmp_path / fold) == tmp_path / fold / "weights.safetensors"
    with pytest.raises(UserError, match=r"2 folds \(.*busan, .*seoul\); name one"):
        find_weights(tmp_path)


def test_the_network_of_settings_ignores_what_its_training_started_from():
    settings = {"_target_": "monai.networks.nets.UNet", "spatial_dims": 3, "channels": [4, 8], "strides": [2]}
    sizes = {"in_channels": 1, "out_channels": 2}
    with_weights = build_own_network({**settings, "weights": {"file": "a", "sha256": "b"}}, sizes)
    assert set(with_weights.state_dict()) == set(build_own_network(settings, sizes).state_dict())


def test_loaded_parameters_are_frozen_for_the_first_epochs_and_the_others_never():
    network = unet(1)
    names = [name for name, _ in network.named_parameters()]
    freezing = FreezeLoaded(names[:2], epochs=2)
    for epoch, free in ((0, False), (1, False), (2, True)):
        freezing.on_train_epoch_start(SimpleNamespace(current_epoch=epoch), SimpleNamespace(network=network))
        assert [parameter.requires_grad for parameter in network.parameters()] == [free] * 2 + [True] * (len(names) - 2)


def test_an_encoder_of_the_shape_of_ct_fm_starts_a_segmenter():
    """Random weights of the shape of MONAI's SegResNetDS that CT-FM is published as, with another number of outputs."""
    shape = {"init_filters": 8, "blocks_down": (1, 2, 2, 4, 4), "dsdepth": 4}
    theirs, ours = SegResNetDS(3, out_channels=118, **shape), SegResNetDS(3, out_channels=5, **shape)
    report = load_into(ours, theirs.state_dict(), {}, 0.9)
    assert {name.split(".")[0] for name in report.loaded} >= {"encoder"}
    assert all("head" in name for name in report.missing)
