"""A fold learns from masks and readers' scores how much of the lung fields is opaque, and marks as much."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kicc_ml.core.errors import NothingToLearn, UserError
from kicc_ml.core.types import Case, Split
from kicc_ml.data.canonical import CanonicalCXR
from kicc_ml.data.datamodule import PatchDataModule
from kicc_ml.data.store import VolumeStore
from kicc_ml.dicom.series.image_files import make_radiograph_series
from kicc_ml.dicom.volume.read import read_volume
from kicc_ml.models import segmenter
from kicc_ml.models.segmenter import Segmenter
from kicc_ml.prediction.opacity_share import add_readers_share, learn_opacity_share
from kicc_ml.prediction.segmenters import make_segmenter_in_training, read_opacity_shares
from kicc_ml.runs.folder import OPACITY_SHARE, About
from tests.support.dark_lung_network import LEARNT, SIZE, DarkIsLung

FILMS, HOSPITALS = 21, 4
ABOUT = About({}, ["h0"], LEARNT, units="arbitrary", spacing_known=False)


def draw_film(share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two dark lungs, of which the lower ``share`` is lighter and without vessels, and the mask of that part."""
    x, y = np.mgrid[:SIZE, :SIZE]
    lung = (abs(abs(x - SIZE / 2) - 15) < 9) & (abs(y - SIZE / 2) < 24)
    opaque = lung & (y > SIZE / 2 + 24 - 48 * share)
    grey = np.where(lung, 50 + 20 * np.random.default_rng(seed).random((SIZE, SIZE)), 220)
    grey[opaque] = 100
    grey[0, 0], grey[-1, 0] = 0, 255
    return grey.astype(np.uint8), opaque


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """Films of four hospitals: every third is clear by its mask, the next has a mask, the third a score alone."""
    folder, made = tmp_path_factory.mktemp("films"), []
    for number in range(FILMS):
        share = 0.0 if number % 3 == 0 else 0.2 + 0.1 * (number % 7)
        grey, opaque = draw_film(share, number)
        Image.fromarray(grey.T).save(folder / f"f{number}.png")
        Image.fromarray(255 * opaque.T.astype(np.uint8)).save(folder / f"m{number}.png")
        site = f"h{number % HOSPITALS}"
        series = make_radiograph_series(folder / f"f{number}.png", site=site, patient=f"p{number}")
        masks = {0: {"lesion": ()}, 1: {"lesion": (folder / f"m{number}.png",)}, 2: {}}[number % 3]
        score = share if number % 3 == 2 else None
        made.append(Case(f"f{number}", site, f"p{number}", cxr=series, cxr_masks=masks, opacity_share=score))
    return made


def make_data(cases: list[Case], folder: Path) -> PatchDataModule:
    ids = tuple(case.case_id for case in cases)
    split = Split("all", ids, (), (), {case.case_id: case.person for case in cases})
    data = PatchDataModule(
        cases, split, VolumeStore(cases[0].cxr.files[0].parent / "store"), CanonicalCXR(SIZE), (SIZE, SIZE, 1)
    )
    data.prepare_data()
    data.setup()
    (folder / "config.yaml").write_text("name: x\n")
    return data


@pytest.fixture(scope="module")
def fold(cases: list[Case], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Segmenter]:
    folder = tmp_path_factory.mktemp("fold")
    data = make_data(cases, folder)
    learn_opacity_share(DarkIsLung(), ABOUT, data, folder)
    return folder, make_segmenter_in_training(DarkIsLung(), ABOUT, data, folder)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6])
def test_as_much_of_a_new_film_is_marked_as_its_grey_values_say(fold, share: float, tmp_path: Path):
    Image.fromarray(draw_film(share, 77)[0].T).save(tmp_path / "new.png")
    volume = read_volume(make_radiograph_series(tmp_path / "new.png", site="h9", patient="new"))
    masks = fold[1].segment(volume)  # its network calls half of every lung opaque
    assert masks["lesion"].sum() / masks["lung"].sum() == pytest.approx(share, abs=0.1)


def test_a_film_is_marked_alike_however_many_pixels_it_has(fold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Image.fromarray(draw_film(0.4, 78)[0].T).save(tmp_path / "new.png")
    volume = read_volume(make_radiograph_series(tmp_path / "new.png", site="h9", patient="new"))
    small = fold[1].segment(volume)
    monkeypatch.setattr(segmenter, "LUNGS_FIRST_VOXELS", 1)
    monkeypatch.setattr(segmenter, "LUNG_MARGIN", (0, 0, 0))
    np.testing.assert_array_equal(fold[1].segment(volume)["lesion"], small["lesion"])


def test_a_film_with_a_score_alone_is_learnt_from_and_gives_no_patch(cases: list[Case], tmp_path: Path):
    data = make_data(cases, tmp_path)
    assert {case.case_id for case in data.train_cases} == {case.case_id for case in cases}
    data.trainer = None
    seen = {case_id for batch in data.train_dataloader() for case_id in batch["case_id"]}
    assert seen <= {case.case_id for case in cases if case.cxr_masks}


def test_scores_without_any_mask_teach_no_network(cases: list[Case], tmp_path: Path):
    with pytest.raises(NothingToLearn, match="with a mask"):
        make_data([case for case in cases if not case.cxr_masks], tmp_path)


def test_a_fold_trained_anew_with_too_few_films_keeps_no_share_of_before(cases: list[Case], tmp_path: Path):
    data = make_data(cases[:12], tmp_path)
    (tmp_path / OPACITY_SHARE).write_text("{}")
    learn_opacity_share(DarkIsLung(), ABOUT, data, tmp_path)
    assert not (tmp_path / OPACITY_SHARE).exists()
    assert read_opacity_shares([tmp_path]) == []


def test_a_task_without_lungs_has_no_share_of_them(cases: list[Case], tmp_path: Path):
    learn_opacity_share(DarkIsLung(), replace(ABOUT, regions=["lesion"]), make_data(cases, tmp_path), tmp_path)
    assert not (tmp_path / OPACITY_SHARE).exists()


def test_a_damaged_share_is_one_sentence(fold, tmp_path: Path):
    kept = json.loads((fold[0] / OPACITY_SHARE).read_text())
    kept["models"]["lesion"]["weight_f"].pop()
    (tmp_path / OPACITY_SHARE).write_text(json.dumps(kept))
    with pytest.raises(UserError, match=rf"{OPACITY_SHARE}.*train the fold again"):
        read_opacity_shares([tmp_path])


def test_where_no_lungs_are_found_nothing_is_marked_and_nothing_fails(fold, tmp_path: Path):
    bright = np.full((SIZE, SIZE), 255, np.uint8)
    bright[0] = bright[-1] = 0
    Image.fromarray(bright).save(tmp_path / "bright.png")
    masks = fold[1].segment(read_volume(make_radiograph_series(tmp_path / "bright.png", site="h9", patient="new")))
    assert not masks["lung"].any()
    assert not masks["lesion"].any()


def test_readers_are_the_reference_where_no_masks_say_it(cases: list[Case]):
    scored, marked = cases[2], cases[1]
    column = "percent_involved_truth"
    assert add_readers_share({column: None}, scored)[column] == pytest.approx(100 * scored.opacity_share)
    assert add_readers_share({column: 12.0}, scored)[column] == 12.0
    assert add_readers_share({}, marked) == {}
