"""Forty studies of a synthetic hospital, and two networks that know them without training, at a node and in predict."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pydicom

from kicc_ml.clinic.loaded_runs import LoadedRuns
from kicc_ml.clinic.outputs import ModelProvenance, OofCases
from kicc_ml.service.intake import Folders
from kicc_ml.service.predict_study import StudyPredictor
from tests.support.chest_study import COLUMNS, ROWS, make_chest, make_radiograph
from tests.support.dark_lung_network import dark_lung_segmenter
from tests.support.grey_value_network import LESION, segmenter
from tests.support.phantom_films import film

AIR, BONE, BRAIN = -1000, 900, 35
CHESTS, FILMS = 16, 19


@dataclass(frozen=True)
class SentStudy:
    """A study, and what a node has to say of it: its state, and a part of the reason."""

    images: list[pydicom.Dataset]
    state: str = "done"
    reason: str = ""


def load_hospital_runs() -> dict[str, LoadedRuns]:
    """What ``kicc-ml predict`` and a node predict by, for each kind of image."""
    model = ModelProvenance("ab" * 32, {"model": "by grey value"})
    segmenters = {"CT": segmenter(), "CXR": dark_lung_segmenter()}
    return {kind: LoadedRuns(one, OofCases(pd.DataFrame()), model) for kind, one in segmenters.items()}


@dataclass(frozen=True)
class HospitalPredictor:
    """Makes what predicts the studies, in the process of a worker."""

    folders: Folders

    def __call__(self) -> StudyPredictor:
        return StudyPredictor(load_hospital_runs(), self.folders)


def make_hospital() -> dict[str, SentStudy]:
    """20 CTs and 20 radiographs by Study Instance UID."""
    chests = [SentStudy(make_patient(f"1.2.{n}", n)) for n in range(1, CHESTS + 1)]
    others = [
        SentStudy(make_chest("1.2.17", lungs=False), "refused", "no lungs were found"),
        SentStudy(_fill("1.2.18", _draw_head()), "refused", "no lungs were found"),
        SentStudy(_fill("1.2.19", np.full((ROWS, COLUMNS), AIR)), "refused", "not Hounsfield units of a chest"),
        SentStudy(make_chest("1.2.20", PixelData=b"\0\0"), "refused", "the file ends before its pixel data does"),
    ]
    films = [SentStudy([make_film(f"1.2.{n}", n)]) for n in range(21, 21 + FILMS)]
    side = SentStudy([make_film("1.2.40", 0, ViewPosition="LL")], "refused", "lateral")
    return {str(one.images[0].StudyInstanceUID): one for one in (*chests, *others, *films, side)}


def make_patient(study: str, number: int) -> list[pydicom.Dataset]:
    """A CT of a chest whose lesion grows with the number."""
    images = make_chest(study, PatientID=f"A-{number}")
    for image in images[4 : 6 + number % 10]:
        stored = image.pixel_array.copy()
        stored[12 : 14 + number, 30:40] = LESION + 1024
        image.PixelData = stored.tobytes()
    return images


def make_film(study: str, number: int, **tags: object) -> pydicom.Dataset:
    """A frontal radiograph that lies a little lower with the number."""
    grey = np.roll(film(3)[0].T, number % 5, axis=0)
    low, high = grey.min(), grey.max()
    stored = ((grey - low) / (high - low) * (3000 + number)).astype(np.uint16)
    return make_radiograph(study, stored, **{"PatientID": f"B-{number}", **tags})


def _draw_head() -> np.ndarray:
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    distance = np.hypot(rows - ROWS / 2, columns - COLUMNS / 2)
    return np.where(distance < 13, BRAIN, np.where(distance < 15, BONE, AIR))


def _fill(study: str, hu: np.ndarray) -> list[pydicom.Dataset]:
    """A CT of one slice again and again."""
    return make_chest(study, PixelData=(hu + 1024).astype(np.uint16).tobytes())
