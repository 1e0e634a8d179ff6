"""DICOM files with known numbers, written by pydicom alone."""

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.orthanc import Orthanc, running_orthanc
from tests.support.plain_slices import write

CR_IMAGE = "1.2.840.10008.5.1.4.1.1.1"


@pytest.fixture(scope="session")
def folders_of_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new folder each time."""
    root = tmp_path_factory.mktemp("keys")
    return (root / str(number) for number in count())


@pytest.fixture(autouse=True)
def keys_of_its_own(folders_of_keys: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = next(folders_of_keys)
    folder.mkdir(mode=0o700)  # others may not read keys
    monkeypatch.setenv("KICC_KEYS", str(folder))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real public images; docs/public-data.md says where to get them."""
    folder = os.environ.get("KICC_DATA")
    if not folder or not Path(folder, "dicom_ct").is_dir():
        pytest.skip("KICC_DATA does not name a folder with real images")
    return Path(folder)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """A service of its own for results: the one of the whole run is expected to hold what its tests pushed."""
    with running_orthanc(tmp_path_factory.mktemp("archive")) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The one hospital's folder of the repository ``tmp_path``."""
    return tmp_path / "seoul"


@pytest.fixture
def write_image() -> Callable[..., Path]:
    """Writes one image: ``write_image(path, stored, **tags)``, a CT slice unless the tags say otherwise."""
    return write


@pytest.fixture
def write_ct(tmp_path: Path) -> Callable[..., list[Path]]:
    """Writes slices at given heights into ``tmp_path/<site>``; slice k holds the stored value 1000 + k.

    File names and InstanceNumber run against the positions.
    """

    def writer(
        heights_mm: Sequence[float] = (0, 5, 10, 15, 20), site: str = "seoul", name: str = "", **tags: Any
    ) -> list[Path]:
        paths = []
        for index, height in enumerate(heights_mm):
            stored = np.full((6, 8), 1000 + index, np.uint16)
            placed = {"ImagePositionPatient": [-10, -20, height], "InstanceNumber": 100 - index}
            path = tmp_path / site / f"{name}{99 - index:03d}"
            paths.append(write(path, stored, **(placed | tags)))
        return paths

    return writer


@pytest.fixture
def write_cxr(tmp_path: Path) -> Callable[..., Path]:
    """Writes one radiograph of ``stored`` [row, column] into ``tmp_path/seoul``."""

    def writer(stored: np.ndarray, name: str = "cxr", **tags: Any) -> Path:
        plain: dict[str, Any] = {
            **{
                "SOPClassUID": CR_IMAGE,
                "Modality": "CR",
                "ViewPosition": "PA",
                "ImageType": ["ORIGINAL", "PRIMARY"],
            },
            **{"ImagePositionPatient": None, "ImageOrientationPatient": None, "PixelSpacing": None},
            **{"RescaleSlope": None, "RescaleIntercept": None, "ImagerPixelSpacing": [0.2, 0.1]},
        }
        return write(tmp_path / "seoul" / name, stored, **(plain | tags))

    return writer
