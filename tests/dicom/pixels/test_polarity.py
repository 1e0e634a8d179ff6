"""A radiograph that is a negative is recognised by its picture where its file cannot say it, or says the opposite."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kicc_ml.core.types import Volume
from kicc_ml.dicom.index.build import index_sources
from kicc_ml.dicom.pixels.polarity import invert, judge_tone
from kicc_ml.dicom.pixels.read import read_image
from kicc_ml.dicom.series.image_files import make_radiograph_series, read_radiograph
from kicc_ml.dicom.volume.read import read_volume
from tests.support.phantom_files import write_radiograph
from tests.support.phantom_films import EACH, SITES, film

REAL = Path(os.environ.get("KICC_DATA", "nowhere"))
EXPOSURES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "as exposed": lambda grey: grey,
    "dark": lambda grey: 4095 * (grey / 4095) ** 3,
    "light": lambda grey: 4095 * (grey / 4095) ** 0.3,
    "clipped": lambda grey: grey.clip(1000, 3000),
    "in a black frame": lambda grey: np.pad(grey, 8),
    "in a white frame": lambda grey: np.pad(grey, 8, constant_values=4095),
}


@pytest.mark.parametrize("name", EXPOSURES)
def test_every_synthetic_film_and_its_negative_are_told_apart_in_any_exposure(name: str):
    films = [EXPOSURES[name](film(seed)[0]) for seed in range(SITES * EACH)]
    assert {judge_tone(grey) for grey in films} == {"positive"}
    assert {judge_tone(invert(grey)) for grey in films} == {"negative"}


@pytest.mark.parametrize(
    "picture",
    [
        np.full((100, 100), 7.0),
        np.tile(np.arange(90.0)[:, None], (1, 80)),
        np.random.default_rng(0).normal(0, 1, (120, 100)),
        film(0)[0][:40, :40],
        np.where(film(0)[0] > film(0)[0].min(), film(0)[0], np.nan),
    ],
    ids=["constant", "sideways", "noise", "a few pixels", "not a number"],
)
def test_of_a_picture_without_a_chest_nothing_is_claimed(picture: np.ndarray):
    assert judge_tone(picture) == "unsure"


def as_png(path: Path, grey_xy: np.ndarray) -> Volume:
    Image.fromarray(grey_xy.T.astype(np.uint16)).save(path)
    return read_volume(make_radiograph_series(path, site="a", patient="b"))


def test_a_negative_png_is_read_as_the_radiograph_that_it_is_of(tmp_path: Path):
    grey = film(3)[0]
    upright, negative = as_png(tmp_path / "a.png", grey), as_png(tmp_path / "b.png", invert(grey))
    np.testing.assert_array_equal(upright.array[..., 0], grey)
    np.testing.assert_array_equal(negative.array, upright.array)
    assert (upright.polarity, negative.polarity) == ("kept", "inverted_unstated")


def test_a_png_that_shows_no_chest_stays_as_it_is_and_says_so(tmp_path: Path):
    ramp = np.tile(np.arange(100.0)[:, None], (1, 100))
    read = as_png(tmp_path / "a.png", ramp)
    np.testing.assert_array_equal(read.array[..., 0], ramp)
    assert read.polarity == "unsure"


def as_dicom(folder: Path, grey_xy: np.ndarray, photometric: str, **tags: object) -> Volume:
    write_radiograph(folder / "f.dcm", grey_xy.T.astype(np.uint16), PhotometricInterpretation=photometric, **tags)
    (series,), _ = index_sources([folder])
    return read_volume(series)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_dicom_file_is_believed_unless_its_picture_is_plainly_the_opposite(tmp_path: Path, photometric: str):
    grey = film(3)[0]
    stored = {"MONOCHROME1": invert(grey), "MONOCHROME2": grey}[photometric]
    right = as_dicom(tmp_path / "right", stored, photometric)
    wrong = as_dicom(tmp_path / "wrong", invert(stored), photometric)
    assert (right.polarity, wrong.polarity) == ("kept", "inverted_against_file")
    for read in (right, wrong):
        assert np.corrcoef(read.array.ravel(), grey.ravel())[0, 1] == pytest.approx(1)
    ramp = np.tile(np.arange(100.0)[:, None], (1, 100))
    assert as_dicom(tmp_path / "ramp", ramp, photometric).polarity == "kept"


def test_padding_is_dark_on_a_film_that_was_inverted_against_its_file(tmp_path: Path):
    stored = 100 + invert(film(3)[0])
    stored[:6] = 0
    read = as_dicom(tmp_path, stored, "MONOCHROME2", PixelPaddingValue=0)
    assert read.polarity == "inverted_against_file"
    assert (read.array[:6] == read.array.min()).all()


def count(pictures: list[np.ndarray]) -> dict[str, int]:
    """How the pictures and their negatives are judged."""
    right = sum(judge_tone(grey) == "positive" for grey in pictures)
    right += sum(judge_tone(invert(grey)) == "negative" for grey in pictures)
    wrong = sum(judge_tone(grey) == "negative" for grey in pictures)
    wrong += sum(judge_tone(invert(grey)) == "positive" for grey in pictures)
    return {"right": right, "wrong": wrong, "unsure": 2 * len(pictures) - right - wrong}


@pytest.mark.slow
@pytest.mark.skipif(not (REAL / "cxr").is_dir(), reason="KICC_DATA with cxr/ needed")
def test_no_public_film_is_taken_for_its_negative_and_at_most_one_in_a_hundred_is_unsure():
    table = pd.read_csv(REAL / "cxr" / "metadata.csv", dtype=str, encoding_errors="replace")
    frontal = table[(table["is_frontal"] == "1") & (table["modality"] == "X-ray")]
    counts = count([read_radiograph(REAL / "cxr" / "images" / f"{image_id}.jpg") for image_id in frontal["image_id"]])
    print(f"{len(frontal)} public films, each upright and as a negative: {counts}")
    assert counts["wrong"] == 0
    assert counts["unsure"] <= 0.01 * 2 * len(frontal)


@pytest.mark.skipif(not (REAL / "aiforcovid").is_dir(), reason="KICC_DATA with aiforcovid/ needed")
def test_the_films_of_aiforcovids_hospital_d_are_negatives_and_are_read_upright():
    paths = sorted((REAL / "aiforcovid" / "imgs").glob("*.png"))
    volumes = [read_volume(make_radiograph_series(path, site="D", patient=path.stem)) for path in paths]
    assert [volume.polarity for volume in volumes] == ["inverted_unstated"] * 8
    for volume in volumes:  # heart and spine are brighter than the whole film, below its upper third
        x, y, _ = volume.array.shape
        middle = np.median(volume.array[int(0.42 * x) : int(0.58 * x), y // 3 :])
        assert middle > np.median(volume.array)
    assert count([volume.array[..., 0] for volume in volumes]) == {"right": 16, "wrong": 0, "unsure": 0}


@pytest.mark.skipif(not (REAL / "dicom_cxr").is_dir(), reason="KICC_DATA with dicom_cxr/ needed")
def test_real_dicom_radiographs_agree_with_what_their_files_state():
    """All but one whose tag was set wrongly for a test, so that its picture is a negative by its file."""
    pictures = []
    for path in sorted((REAL / "dicom_cxr").glob("*.dcm")):
        image = read_image(path)
        grey_xy = image.stored.T.astype(np.float32)
        wrong = "TAGGED" in path.name
        pictures.append(invert(grey_xy) if image.inverted and not wrong else grey_xy)
    assert count(pictures) == {"right": 16, "wrong": 0, "unsure": 0}
