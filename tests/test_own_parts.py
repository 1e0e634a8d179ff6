"""A laboratory brings a part of every kind along: one command trains with all of them, from a folder of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

from kicc_ml.core.files import read_table

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
SUPPORT = ROOT / "tests" / "support"
SITES, KINDS = ("busan", "seoul"), ("ct", "lesion")
AFFINE = np.diag([-4.0, -4.0, 4.0, 1.0])
Result = subprocess.CompletedProcess[str]


def run(where: Path, *command: object, installed: bool = True) -> Result:
    """A command in a folder of its own; ``myLab`` is installed or not."""
    places = [str(ROOT), *([str(SUPPORT)] if installed else [])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        env[name] = str(where / name)
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=where, env=env, capture_output=True, text=True, timeout=900, check=False)


def refused(result: Result) -> str:
    """The one sentence of a user's error."""
    assert result.returncode == 2, result.stdout[-2000:] + result.stderr[-4000:]
    assert "Traceback" not in result.stderr
    (message,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return message


def write_pair(root: Path, site: str, number: int) -> None:
    rng = np.random.default_rng([len(site), number])
    image = rng.normal(-800, 40, (24, 24, 12))
    image[:, 17:] = rng.normal(40, 20, (24, 7, 12))  # values of a chest: air, lung and soft tissue
    lesion = np.zeros(image.shape, np.uint8)
    lesion[6 + number : 14 + number, 8:16, 3:9] = 1
    image[lesion > 0] += 600
    (root / site).mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(image.astype(np.int16), AFFINE), root / site / f"p{number}_ct.nii.gz")
    nib.save(nib.Nifti1Image(lesion, AFFINE), root / site / f"p{number}_lesion.nii.gz")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a cohort in the laboratory's own layout."""
    folder = tmp_path_factory.mktemp("lab")
    for site in SITES:
        for number in range(3):
            write_pair(folder / "data", site, number)
    return folder


def train(here: Path, *settings: str, run_dir: str = "runs/mylab") -> Result:
    where = ("--config-dir", SUPPORT / "myLab_configs", "experiment=mylab", f"cohort.root={here / 'data'}")
    return run(here, sys.executable, ROOT / "train.py", *where, f"run_dir={run_dir}", *settings)


@pytest.fixture(scope="module")
def trained(here: Path) -> Path:
    result = train(here)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    assert result.stdout.strip().splitlines()[-1].startswith("report: ")
    return here / "runs" / "mylab"


def test_one_command_trains_every_hospital_with_all_of_them(trained: Path):
    for site in SITES:
        fold = trained / site
        assert (fold / "batches.txt").read_text() == "3"
        lines = [json.loads(line) for line in (fold / "my_log.jsonl").read_text().splitlines()]
        assert any("train/loss" in line for line in lines)
        settings = yaml.safe_load((fold / "config.yaml").read_text())
        assert settings["packages"]["myLab"]["version"] == "0.4"
        assert settings["network"] == {"_target_": "myLab.networks.TwoScales", "weights": None, "width": 4}
        assert "logger" not in settings
        tested = read_table(fold / "predictions.csv", "train again")
        assert set(tested["site"]) == {site}
    assert set(pd.read_csv(trained / "cases.csv")["site"]) == set(SITES)


def test_the_score_is_computed_from_predicted_and_reference_masks(trained: Path, here: Path):
    cases = pd.read_csv(trained / "cases.csv").set_index("case_id")
    assert len(cases) == 2 * 3
    for case_id, row in cases.iterrows():
        site, patient = str(case_id).split("-")
        scan, truth = (nib.load(here / "data" / site / f"{patient}_{kind}.nii.gz").get_fdata() for kind in KINDS)
        found = nib.load(trained / "severity" / str(case_id) / "lesion.nii.gz").get_fdata()
        for column, mask in (("score_darkness", found), ("score_darkness_truth", truth)):
            dark = ((mask > 0) & (scan <= -900)).sum()
            assert row[column] == pytest.approx(dark / (mask > 0).sum() if mask.any() else float("nan"), nan_ok=True)
    assert cases["score_darkness_truth"].notna().all()


def test_the_volume_transform_is_in_the_store(trained: Path, here: Path):
    metas = [json.loads(path.read_text()) for path in here.glob("store/*/meta.json")]
    assert metas
    assert all(
        meta["canonical"]["transforms"]["brighter"]["_target_"] == "myLab.transforms.Brightened" for meta in metas
    )


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_whoever_receives_the_run_says_that_the_package_is_trusted(trained: Path, here: Path, command: str):
    scripts = {
        "evaluate": (sys.executable, ROOT / "evaluate.py", f"runs={trained}"),
        "predict": (
            *(Path(sys.executable).with_name("kicc-ml"), "predict", "--run", trained, "-o", here / "out"),
            *("-i", here / "data" / "seoul" / "p0_ct.nii.gz"),
        ),
    }
    said = {"evaluate": ("trust=[myLab]", "trust=[myLab]"), "predict": ("--trust myLab", "--trust=myLab")}
    message = refused(run(here, *scripts[command]))
    assert "myLab.networks.TwoScales" in message or "myLab.transforms.Brightened" in message
    assert said[command][0] in message
    assert "not installed here" in refused(run(here, *scripts[command], said[command][1], installed=False))
    done = run(here, *scripts[command], said[command][1])
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def test_a_run_of_another_version_of_the_package_is_refused(trained: Path, here: Path, tmp_path: Path):
    for path in trained.glob("*/config.yaml"):
        other = tmp_path / "run" / path.parent.name
        other.mkdir(parents=True)
        for file in path.parent.glob("*.*"):
            if file.is_file():
                (other / file.name).write_bytes(file.read_bytes())
        (other / "config.yaml").write_text(path.read_text().replace("version: '0.4'", "version: '0.3'"))
    predict = (Path(sys.executable).with_name("kicc-ml"), "predict", "--run", tmp_path / "run", "-o", here / "other")
    said = refused(run(here, *predict, "-i", here / "data" / "seoul" / "p0_ct.nii.gz", "--trust", "myLab"))
    assert "trained with myLab 0.3 and here is 0.4" in said


def test_a_run_of_one_batch_goes_the_whole_way(here: Path):
    weights = here / "runs" / "mylab" / "seoul" / "weights.safetensors"
    result = train(here, "trainer.fast_dev_run=true", f"+network.weights={weights}", run_dir="runs/dev")
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    assert "tensors loaded" in result.stderr
    settings = yaml.safe_load((here / "runs" / "dev" / "seoul" / "config.yaml").read_text())
    assert settings["network"]["weights"]["file"] == "weights.safetensors"
    assert len(settings["network"]["weights"]["sha256"]) == 64


def test_another_region_is_trained_predicted_and_scored(here: Path):
    nodule = ("+cohort.region=nodule", "task.regions.names=[nodule]", "task.regions.lesion=nodule")
    nodule = (*nodule, "task.severity=false", "+task.scores.darkness.region=nodule")
    result = train(here, *nodule, run_dir="runs/nodule")
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    run_dir = here / "runs" / "nodule"
    cases = pd.read_csv(run_dir / "cases.csv")
    assert len(cases) == 6
    assert cases["nodule_dice"].notna().all()
    assert "lesion_dice" not in cases
    assert cases["score_darkness_truth"].notna().all()
    severity = json.loads((run_dir / "severity" / "seoul-p0" / "severity.json").read_text())
    assert (severity["score"], severity["reasons"]) == (None, ["score: the task has none (task.severity=false)"])
    assert len(list(run_dir.glob("severity/*/nodule.nii.gz"))) == 6
    assert json.loads((run_dir / "summary.json").read_text())["segmentation"]["nodule"]["dice"]["n"] == 6


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("network._target_=myLab.networks.TwoScale",), "myLab.networks.TwoScale, which cannot be imported"),
        (("loss._target_=myLab.losses.not_a_number",), "the loss is nan on"),
        (("transforms.volume.brighter=null", "transforms.sample.noise._target_=myLab.transforms.Unseeded",
          "~transforms.sample.noise.prob"), "Unseeded draws at random without being seeded"),
        (("+transforms.sample.crop={_target_:monai.transforms.CenterSpatialCropd,keys:image,roi_size:8}",),
         "give it keys: [image, mask]"),
        (("task.scores.darkness._target_=myLab.scores.gloom",), "myLab.scores.gloom, which cannot be imported"),
        (("+task.scores.darkness.below=0",), "task.scores.darkness: myLab.scores.darkness is no score(masks, volume)"),
    ],
    ids=["a name mistyped", "no number", "not seeded", "one shape only", "no such score", "not its parameter"],
)  # fmt: skip
def test_what_cannot_work_is_refused_in_one_sentence(here: Path, settings: tuple[str, ...], said: str):
    assert said in refused(train(here, *settings, "split.fold=seoul", run_dir="runs/refused"))
