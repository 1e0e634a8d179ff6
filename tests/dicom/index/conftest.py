"""Fixtures of index."""

from pathlib import Path

import pytest

from kicc_ml.core.user_folders import get_cache_folder
from tests.support.zips import Writer


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache") / "index.parquet"


@pytest.fixture
def zip_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    return get_cache_folder() / "zip"


@pytest.fixture
def slices(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, write_ct: Writer) -> dict[str, list[Path]]:
    """Five slices of each of two patients, outside of what is indexed."""
    folder = tmp_path_factory.mktemp("slices")
    made = {}
    for patient in ("p1", "p2"):
        files = write_ct(name=f"{patient}_", PatientID=patient, SeriesInstanceUID=f"1.2.3.{patient[1]}")
        made[patient] = [file.rename(folder / file.name) for file in files]
    (tmp_path / "seoul").rmdir()
    return made
