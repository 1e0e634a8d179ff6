"""Radiographs as light as radiologists scored them."""

from pathlib import Path

import numpy as np
from PIL import Image

from kicc_ml.core.types import Case, Split
from kicc_ml.data.canonical import CanonicalCXR
from kicc_ml.data.datamodule import PatientDataModule
from kicc_ml.data.store import VolumeStore
from kicc_ml.dicom.series.image_files import make_radiograph_series

SCORES = ("geographic_extent", "brixia")


def image_case(folder: Path, number: int, shape: tuple[int, int] = (32, 32)) -> Case:
    """A radiograph as light as it is scored; every third has no Brixia."""
    share = number / 20
    grey = np.random.default_rng(number).normal(60 + 150 * share, 15, shape).clip(0, 255)
    path = folder / f"c{number:02d}.png"
    grey[0, 0], grey[0, 1] = 0, 255
    Image.fromarray(grey.astype(np.uint8)).save(path)
    series = make_radiograph_series(path, site="rome", patient=f"p{number // 2}", projection="PA")
    brixia = np.nan if number % 3 == 0 else share
    scores = {"geographic_extent": share, "brixia": brixia, "brixia_reader_1": brixia, "brixia_reader_2": brixia / 2}
    return Case(f"c{number:02d}", "rome", f"p{number // 2}", cxr=series, endpoints=scores)


def severity_data(cases: list[Case], store: Path) -> PatientDataModule:
    """Batches of a fold that holds out the first four cases."""
    ids = [case.case_id for case in cases]
    split = Split("f1", tuple(ids[4:]), (), tuple(ids[:4]), {case.case_id: case.person for case in cases})
    data = PatientDataModule(
        cases, split, VolumeStore(store), canonical_cxr=CanonicalCXR(32), features=(), endpoints=SCORES
    )
    data.prepare_data()
    data.setup()
    return data
