"""The Python interface predicts the same with a bundle as with the run that it was written from."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kicc_ml
from kicc_ml.core.errors import UserError
from kicc_ml.prediction.bundle.write import write_bundle
from kicc_ml.runs.folder import load_folds
from tests.support.bundled_run import SLICES, UNET, save_run
from tests.support.grey_value_network import phantom_ras

AFFINE_RAS = np.diag([2.0, 2.0, 3.0, 1.0])


def write(tmp_path: Path, *networks: dict[str, Any], **about: Any) -> tuple[Path, Path]:
    run = save_run(tmp_path / "run", *networks, **about)
    write_bundle(load_folds(run), tmp_path / "bundle")
    return run, tmp_path / "bundle"


def test_a_bundle_and_its_run_segment_alike(tmp_path: Path):
    run, bundle = write(tmp_path, SLICES, UNET, lesion_threshold=0.4)
    ours, theirs = (kicc_ml.segment(kicc_ml.load_run(one), phantom_ras(), AFFINE_RAS) for one in (run, bundle))
    assert list(ours) == list(theirs)
    assert any(mask.any() and not mask.all() for mask in ours.values())
    for region, mask_xyz in ours.items():
        np.testing.assert_array_equal(mask_xyz, theirs[region], region)


def change(bundle: Path, edit: Callable[[dict[str, Any]], Any]) -> Path:
    path = bundle / "configs" / "inference.json"
    inference = json.loads(path.read_text())
    edit(inference)
    path.write_text(json.dumps(inference))
    return bundle


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda kept: kept["network_def"]["networks"][0].update(_target_="os.system"), "os.system"),
        (lambda kept: kept["network_def"]["networks"][0].update(num_res_units=1), "network"),
        (lambda kept: kept["network_def"]["networks"][0].update(channels=[10**6, 10**6]), "more than"),
        (lambda kept: kept["inferer"]["segmenter"].update(lesion_threshold=2), "not understood"),
        (lambda kept: kept["inferer"].pop("groups"), "cannot be read as a bundle"),
        (lambda kept: kept["inferer"]["groups"][0].update(patch_size=[10**6] * 3), "patch"),
    ],
)
def test_a_bundle_that_was_changed_is_refused_in_one_sentence(
    tmp_path: Path, edit: Callable[[dict[str, Any]], Any], said: str
):
    _, bundle = write(tmp_path, UNET)
    with pytest.raises(UserError, match=said):
        kicc_ml.load_run(change(bundle, edit))
