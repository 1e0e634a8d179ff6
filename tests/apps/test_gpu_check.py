"""The check of a GPU runs in small on a CPU, and says in one sentence that there is no GPU."""

import os
import sys

import pytest
import torch

from kicc_ml.apps.gpu_check import TINY, check, measure_nnunet
from kicc_ml.apps.gpu_peer import make_nnunet_step
from kicc_ml.core.errors import UserError


def test_every_row_of_the_table_is_there_in_small_on_a_cpu(capsys: pytest.CaptureFixture[str]):
    check(tiny=True)
    said = capsys.readouterr().out
    wanted: tuple[str, ...]
    wanted = ("device", "one constant batch", "real batches", "voxels a second", "2 steps", "predicted and taken")
    wanted += ("utilisation", "torch.compile", "nnU-Net's trainer")
    for row in (*wanted, "48 x 48 x 12 voxels, ours", "MONAI's sliding window"):
        assert row in said


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_one_sentence_says_so():
    with pytest.raises(UserError, match="finds no GPU here"):
        check(tiny=False)


def test_where_nnunet_is_installed_its_own_trainer_does_steps_of_the_same_size():
    pytest.importorskip("nnunetv2")
    with make_nnunet_step((16, 16, 16), 2, (4, 8, 16), torch.device("cpu")) as step:
        losses = [float(step()["loss"]) for _ in range(3)]
    assert losses[-1] < losses[0]  # it learns its batch


def test_what_fails_in_another_version_of_nnunet_is_a_row_and_not_the_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kicc_ml.apps.gpu_check.has_nnunet", lambda: True)
    monkeypatch.setitem(sys.modules, "nnunetv2.training.nnUNetTrainer.nnUNetTrainer", None)
    before = dict(os.environ)
    assert measure_nnunet(TINY, torch.device("cpu")).startswith("failed (")
    assert dict(os.environ) == before
