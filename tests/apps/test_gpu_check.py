"""The check of a GPU runs in small on a CPU, and says in one sentence that there is no GPU."""

import pytest
import torch

from kicc_ml.apps.gpu_check import check
from kicc_ml.core.errors import UserError


def test_every_row_of_the_table_is_there_in_small_on_a_cpu(capsys: pytest.CaptureFixture[str]):
    check(tiny=True)
    said = capsys.readouterr().out
    wanted = ("device", "one constant batch", "real batches", "voxels a second", "2 steps", "predicted and taken")
    for row in (*wanted, "48 x 48 x 12 voxels, ours", "MONAI's sliding window"):
        assert row in said


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_one_sentence_says_so():
    with pytest.raises(UserError, match="finds no GPU here"):
        check(tiny=False)
