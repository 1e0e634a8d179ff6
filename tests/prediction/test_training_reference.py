"""A model that held nothing out carries a reference of its training hospitals, with which new scans are compared."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kicc_ml.clinic.held_out_case import read_oof_cases
from kicc_ml.clinic.outputs import OofCases
from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case, Split
from kicc_ml.data.canonical import CanonicalCXR
from kicc_ml.data.datamodule import PatchDataModule
from kicc_ml.data.store import VolumeStore
from kicc_ml.dicom.series.image_files import make_radiograph_series
from kicc_ml.dicom.volume.read import place_frontal
from kicc_ml.prediction.segmentation import held_out_segmentation
from kicc_ml.prediction.training_reference import REFERENCE, read_training_reference, write_training_reference
from kicc_ml.runs.folder import About
from kicc_ml.severity.image_features import measure_radiograph_features
from tests.support.dark_lung_network import LEARNT, SIZE, DarkIsLung, dark_lung_segmenter
from tests.support.phantom_films import SITES, film


def save(path: Path, array_xy: np.ndarray) -> Path:
    Image.fromarray(array_xy.T).save(path)
    return path


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """Two patients of each of six hospitals, with masks of the lungs."""
    folder = tmp_path_factory.mktemp("films")
    made = []
    for seed in range(2 * SITES):
        grey, masks, _ = film(seed)
        lung = save(folder / f"lung{seed}.png", 255 * (masks["left_lung"] | masks["right_lung"]).astype(np.uint8))
        path = save(folder / f"f{seed}.png", grey.astype(np.uint16))
        series = make_radiograph_series(path, site=f"h{seed % SITES}", patient=f"p{seed}")
        made.append(Case(f"f{seed}", f"h{seed % SITES}", f"p{seed}", cxr=series, cxr_masks={"lung": (lung,)}))
    return made


@pytest.fixture(scope="module")
def features() -> dict[str, float | None]:
    """Of a film of a new patient, as the network of the fold sees its lungs."""
    volume = place_frontal(film(40)[0], "arbitrary", None)
    return measure_radiograph_features(volume, dark_lung_segmenter().segment(volume))


def finish_fold(cases: list[Case], run: Path, test: tuple[str, ...]) -> None:
    """What a training does after its last step: predict the cases held out, here with a network that knows lungs."""
    train = tuple(case.case_id for case in cases if case.case_id not in test)
    split = Split("one", train, (), test, {case.case_id: case.person for case in cases})
    data = PatchDataModule(cases, split, VolumeStore(run.parent / "store"), CanonicalCXR(SIZE), (SIZE, SIZE, 1))
    data.prepare_data()
    data.setup()
    (run / "one").mkdir(parents=True)
    (run / "one" / "config.yaml").write_text("name: x\n")
    about = About({}, sorted({case.site for case in cases}), LEARNT, units="arbitrary", spacing_known=False)
    rows, _ = held_out_segmentation(DarkIsLung(), about, data, run)
    rows.to_csv(run / "one" / "predictions.csv", index=False)


def test_a_fold_of_all_cases_tells_films_like_its_own_from_others(cases, features, tmp_path: Path):
    finish_fold(cases, tmp_path / "run", test=())
    known = read_oof_cases(tmp_path / "run")
    assert known.check_domain(features) == ("inside", ())
    standing, why = known.check_domain(features | {"grain": 30.0})
    assert (standing, why[0].feature) == ("outside", "grain")


def test_of_its_own_scans_it_claims_neither_an_interval_nor_a_usual_uncertainty(cases, tmp_path: Path):
    finish_fold(cases, tmp_path / "run", test=())
    known = read_oof_cases(tmp_path / "run")
    assert known.compute_interval(20.0) is None
    assert known.flag_uncertainty(20.0) == "unknown"


def test_a_fold_that_held_cases_out_has_no_reference_of_its_own_scans(cases, tmp_path: Path):
    finish_fold(cases, tmp_path / "run", test=("f0", "f6"))
    assert not list(tmp_path.rglob(REFERENCE))


def test_held_out_cases_come_before_the_training_cases(cases, features, tmp_path: Path):
    finish_fold(cases, tmp_path / "run", test=())
    training = read_oof_cases(tmp_path / "run").training
    rows = [{"site": f"h{site}", **features, "grain": 30.0 + site} for site in range(4) for _ in range(3)]
    assert OofCases(pd.DataFrame(rows), training).check_domain(features | {"grain": 31.0})[0] == "inside"


def test_two_hospitals_do_not_show_how_hospitals_differ(cases, tmp_path: Path):
    write_training_reference(dark_lung_segmenter(), [case for case in cases if case.site in ("h0", "h1")], tmp_path)
    assert read_training_reference(tmp_path) is None


def test_a_film_that_is_gone_is_left_out_of_the_reference(cases, tmp_path: Path):
    gone = replace(cases[0], case_id="gone", cxr=replace(cases[0].cxr, files=(tmp_path / "gone.png",)))
    write_training_reference(dark_lung_segmenter(), cases, tmp_path)
    before = (tmp_path / REFERENCE).read_text()
    write_training_reference(dark_lung_segmenter(), [*cases, gone], tmp_path)
    assert (tmp_path / REFERENCE).read_text() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda kept: kept.pop("limit"),
        lambda kept: kept.update(more={}),
        lambda kept: kept["centre"].clear(),
        lambda kept: kept["spread"].update(grain="wide"),
        lambda kept: kept["spread"].update(grain=0.0),
        lambda kept: [part.update(shoe_size=1.0) for part in kept.values()],
    ],
    ids=["without limits", "more parts", "empty", "text", "no spread", "unknown feature"],
)
def test_a_reference_of_somebody_else_that_is_none_is_one_sentence(cases, tmp_path: Path, change):
    write_training_reference(dark_lung_segmenter(), cases, tmp_path)
    kept = json.loads((tmp_path / REFERENCE).read_text())
    change(kept)
    (tmp_path / REFERENCE).write_text(json.dumps(kept))
    with pytest.raises(UserError, match=rf"{REFERENCE}.*train the fold again"):
        read_training_reference(tmp_path)
