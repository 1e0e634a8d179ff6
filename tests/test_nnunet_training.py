"""Nine public CTs, read from their own layout and from that of nnU-Net, are one training: same folds, same results."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from safetensors.numpy import load_file

from kicc_ml.cohort.public.images import COVID_CT_SEG, covid_ct_seg
from tests.support.commands import TRAIN, finished, run
from tests.support.nnunet_layout import lay_as_nnunet

DATA = Path(os.environ.get("KICC_DATA", "nowhere"))
FOLDS = ("coronacases", "radiopaedia")
#: Light enough for a minute on one core. A budget of steps, because one of time ends where the machine is.
SMALL = (
    *("experiment=lesion_ct", "seed=3", "trainer=cpu", "trainer.max_time=null", "++trainer.max_steps=6"),
    *("data.canonical.spacing_mm=[4,4,1]", "data.patch_size=[32,32,8]", "data.batch_size=2"),
    *("data.patches_per_epoch=4", "data.num_workers=0"),
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (DATA / COVID_CT_SEG).is_dir(), reason=f"KICC_DATA with {COVID_CT_SEG} needed"),
]


def train(folder: Path, *cohort: str) -> Path:
    """The run folder of a finished cross-validation, with a store of its own."""
    places = (f"run_dir={folder / 'run'}", f"store_dir={folder / 'store'}")
    finished(run(*TRAIN, *SMALL, *places, *cohort, timeout_s=3000))  # two minutes where nobody else is at work
    return folder / "run"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The cohort ``covid_ct_seg``, and the same CTs as a data set of nnU-Net."""
    folder = tmp_path_factory.mktemp("nnunet")
    dataset = lay_as_nnunet(covid_ct_seg(DATA), folder / "Dataset501_Covid")
    as_nnunet = ("cohort=nnunet", f"cohort.root={dataset}", "cohort.spacing_known=false")
    return (
        train(folder / "own", "cohort=covid_ct_seg", f"cohort.root={DATA}"),
        train(folder / "nnunet", *as_nnunet, "cohort.site_pattern='{site}_*'"),
    )


@pytest.mark.parametrize("fold", FOLDS)
def test_each_fold_divides_the_cases_alike(runs: tuple[Path, Path], fold: str):
    own, laid = (json.loads((run_dir / fold / "split.json").read_text()) for run_dir in runs)
    assert own == laid
    ((division),) = own["folds"]
    assert {case.split("_")[0] for case in division["test"]} == {fold}


@pytest.mark.parametrize("fold", FOLDS)
def test_each_fold_trains_the_same_weights(runs: tuple[Path, Path], fold: str):
    own, laid = (load_file(run_dir / fold / "weights.safetensors") for run_dir in runs)
    assert own.keys() == laid.keys()
    assert all((own[name] == laid[name]).all() for name in own)


@pytest.mark.parametrize("fold", FOLDS)
def test_each_case_has_the_same_predictions(runs: tuple[Path, Path], fold: str):
    own, laid = (pd.read_csv(run_dir / fold / "predictions.csv").set_index("case_id") for run_dir in runs)
    pd.testing.assert_frame_equal(own.drop(columns="seconds"), laid.drop(columns="seconds"), check_exact=True)


def test_the_reports_state_the_same_dice_of_lung_and_lesion(runs: tuple[Path, Path]):
    own, laid = (pd.read_csv(run_dir / "cases.csv").set_index("case_id") for run_dir in runs)
    assert len(own) == 9
    for region in ("lung", "lesion"):
        assert own[f"{region}_dice"].notna().all()
        assert own[f"{region}_dice"].to_dict() == laid[f"{region}_dice"].to_dict()
    assert (own["lung_dice"] > 0).any()  # two runs that find nothing would agree as well
