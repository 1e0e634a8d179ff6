"""Lesions on the nine open COVID CTs after the same minutes on two cores, beside a plain MONAI 3-D U-Net.

Both designs train on the same cases for the same minutes and predict the same held-out cases. MONAI's is that of its
tutorials: patches of 128 x 128 x 24 about lesions and elsewhere, cached, flipped and shifted in intensity; residual
U-Net, Dice and cross-entropy, AdamW; sliding window with half overlap. Half an hour in all.
"""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest

from kicc_ml.cohort.splits import read_splits
from kicc_ml.runs.folder import SPLIT, finished_folds

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("KICC_DATA", "")) / "ct_volumes/covid_seg_u8"
MINUTES = 3
#: Both ways of dividing nine cases of two sources, which look different.
DESIGNS = {"leave_one_site_out": [], "patient_kfold": ["split.folds=3"]}

#: One fold in a process of its own: trains for the minutes, prints the Dice of lung and lesion of each test case.
PEER = """
import json, sys, time
import torch
from monai.data import CacheDataset, DataLoader
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from monai.transforms import (
    Compose, ConcatItemsd, EnsureChannelFirstd, LoadImaged, RandCropByPosNegLabeld, RandFlipd, RandShiftIntensityd,
    ScaleIntensityRanged, SpatialPadd,
)
from monai.utils import set_determinism

folder, minutes, train, test = sys.argv[1], float(sys.argv[2]), json.loads(sys.argv[3]), json.loads(sys.argv[4])
torch.set_num_threads(2)
set_determinism(1)
KEYS, PATCH = ("ct", "lung", "lesion"), (128, 128, 24)
load = [
    LoadImaged(KEYS), EnsureChannelFirstd(KEYS), ScaleIntensityRanged("ct", 0, 255, 0.0, 1.0),
    ConcatItemsd(("lung", "lesion"), "label"),
]
crop = [
    SpatialPadd(("ct", "label", "lesion"), PATCH),
    RandCropByPosNegLabeld(("ct", "label"), "lesion", PATCH, pos=1, neg=1, num_samples=2),
    *(RandFlipd(("ct", "label"), 0.5, axis) for axis in range(3)),
    RandShiftIntensityd("ct", 0.1, prob=0.5),
]
files = lambda ids: [{key: f"{folder}/{one}_{key}.nii.gz" for key in KEYS} for one in ids]
started = time.perf_counter()
loader = DataLoader(CacheDataset(files(train), Compose(load + crop), progress=False), batch_size=1, shuffle=True)
network = UNet(3, 1, 2, (16, 32, 64, 128, 256), ((2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 1)), num_res_units=2)
loss, optimizer = DiceCELoss(sigmoid=True), torch.optim.AdamW(network.parameters(), 1e-3)
while (time.perf_counter() - started) < 60 * minutes:
    for batch in loader:
        optimizer.zero_grad()
        loss(network(batch["ct"]), (batch["label"] > 0).float()).backward()
        optimizer.step()
network.eval()
dices = {}
with torch.inference_mode():
    for one, case in zip(test, map(Compose(load), files(test)), strict=True):
        logits = sliding_window_inference(case["ct"][None].as_tensor(), PATCH, 2, network, overlap=0.5, mode="gaussian")
        predicted, truth = logits[0] > 0, case["label"].as_tensor() > 0
        both = (predicted & truth).sum((1, 2, 3)) * 2 / (predicted.sum((1, 2, 3)) + truth.sum((1, 2, 3)))
        dices[one] = {"lung": float(both[0]), "lesion": float(both[1])}
print(json.dumps(dices))
"""


def ours(design: str, run: Path) -> pd.DataFrame:
    """Dice of each held-out case, by case_id, from the project's own command."""
    command = [sys.executable, "train.py", "experiment=lesion_ct", "cohort=covid_ct_seg", f"split={design}"]
    command += [*DESIGNS[design], f"trainer.max_time=00:00:{MINUTES:02}:00", f"run_dir={run}", f"store_dir={run}/store"]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    rows = pd.read_csv(run / "cases.csv").set_index("case_id")
    return rows[["lung_dice", "lesion_dice"]].set_axis(["lung", "lesion"], axis=1)


def theirs(run: Path) -> pd.DataFrame:
    """The same of MONAI's U-Net, over the folds of the run."""
    rows = {}
    for fold in finished_folds(run):
        (split,) = read_splits(fold / SPLIT)
        cases = [json.dumps(ids) for ids in ([*split.train, *split.val], list(split.test))]
        command = [sys.executable, "-c", PEER, str(DATA), str(MINUTES), *cases]
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        rows |= json.loads(said.splitlines()[-1])
    return pd.DataFrame(rows).T


@pytest.mark.skipif(not DATA.is_dir(), reason="the nine open COVID CTs are not under KICC_DATA")
@pytest.mark.parametrize("design", DESIGNS)
def test_lesions_are_found_better_than_by_a_plain_unet_in_the_same_minutes(design: str, tmp_path: Path) -> None:
    found = ours(design, tmp_path / "run").join(theirs(tmp_path / "run"), rsuffix="_monai")
    print(f"\n{design}, {MINUTES} minutes a model, Dice; MONAI {version('monai')}\n{found.round(3).to_string()}")
    mean = found.mean()
    print(f"mean\n{mean.round(3).to_string()}")
    assert len(found) == 9
    assert mean["lesion"] > mean["lesion_monai"]
    assert mean["lung"] > mean["lung_monai"]
