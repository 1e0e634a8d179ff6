"""What several benchmarks share."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from tests.support.whole_scan import SHAPE, SPACING_MM, chest, enlarged, trained_network


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scan, enlarged from a coarser chest with noise of its own, and the weights."""
    folder = tmp_path_factory.mktemp("infer")
    np.save(folder / "scan.npy", enlarged(chest(3, 256, 100)[0], SHAPE).numpy())
    np.save(folder / "affine.npy", np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0]))
    save_file(
        {name: t.contiguous() for name, t in trained_network().state_dict().items()}, folder / "weights.safetensors"
    )
    return folder
