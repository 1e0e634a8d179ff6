"""Public sets are downloaded series by series where a client exists, and taken up again."""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from kicc_ml.cohort.public.get_set import Remote, download
from kicc_ml.core.errors import TargetError, UserError
from tests.support.datasets_command import run


class Archive:
    """A client as idc-index and tcia-utils are used here; ``broken`` series give too few files."""

    def __init__(self, series: Sequence[Remote], broken: Sequence[str] = ()) -> None:
        self.series, self.broken, self.fetched = series, broken, list[str]()

    def series_of(self, collection: str) -> Sequence[Remote]:
        return self.series if collection == "known" else []

    def fetch(self, series: Remote, folder: Path) -> None:
        self.fetched.append(series.uid)
        (folder / "inside").mkdir()
        for number in range(series.images - (series.uid in self.broken)):
            (folder / "inside" / f"{number}.dcm").write_bytes(b"content")
        (folder / "LICENSE").write_text("terms")


SERIES = [Remote("P1", "1.1", "1.1.1", 2), Remote("P1", "1.1", "1.1.2", 1), Remote("P2", "1.2", "1.2.1", 3)]


def names(folder: Path) -> list[str]:
    return sorted(path.parent.parent.name for path in folder.rglob("*.dcm"))


def test_a_download_lays_each_series_into_its_own_folder_and_goes_on_where_it_was(tmp_path: Path):
    first = Archive(SERIES, broken=["1.2.1"])
    failed = download(first, "known", tmp_path / "out")
    assert failed == {"1.2.1": "2 of 3 images came; start again later"}
    assert names(tmp_path / "out") == ["1.1.1", "1.1.1", "1.1.2"]
    second = Archive(SERIES)
    assert download(second, "known", tmp_path / "out") == {}
    assert second.fetched == ["1.2.1"]
    assert sorted({path.relative_to(tmp_path / "out").parts[:3] for path in (tmp_path / "out").rglob("*.dcm")}) == [
        ("P1", "1.1", "1.1.1"),
        ("P1", "1.1", "1.1.2"),
        ("P2", "1.2", "1.2.1"),
    ]


def test_a_name_from_the_archive_that_leads_elsewhere_is_left_out(tmp_path: Path):
    failed = download(Archive([Remote("..", "1", "2", 1), *SERIES]), "known", tmp_path / "out")
    assert list(failed) == ["2"]
    assert "PatientID" in failed["2"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_client_that_raises_costs_its_series_and_a_full_disk_ends_all(tmp_path: Path):
    class Offline(Archive):
        def fetch(self, series: Remote, folder: Path) -> None:
            if series.uid == "1.1.1":
                raise ConnectionError("no route to host")
            raise OSError(28, "No space left on device", str(folder))

    with pytest.raises(TargetError, match="No space left"):
        download(Offline(SERIES), "known", tmp_path / "out")
    assert not names(tmp_path / "out")
    assert download(Offline(SERIES[:1]), "known", tmp_path / "out") == {"1.1.1": "no route to host"}


def test_a_collection_that_the_archive_does_not_know_is_an_error(tmp_path: Path):
    with pytest.raises(UserError, match="has no series; is the network there"):
        download(Archive([]), "other", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def idc_index(fetched: list[dict]) -> ModuleType:
    """The interface of idc-index 0.13 as far as it is used."""

    class IDCClient:
        index = pd.DataFrame(
            [
                ("midrc_ricord_1a", "P1", "1.1", "1.1.1", 1),
                ("midrc_ricord_1a", "P2", "1.2", "1.2.1", 1),
                ("covid_19_ar", "P3", "1.3", "1.3.1", 1),
            ],
            columns=["collection_id", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "instanceCount"],
        )

        def download_from_selection(self, **options: Any) -> None:
            fetched.append(options)
            (Path(options["downloadDir"]) / "0a1b.dcm").write_bytes(b"content")

    module = ModuleType("idc_index")
    module.IDCClient = IDCClient  # type: ignore[attr-defined]
    return module


def test_get_downloads_a_collection_of_idc_and_says_what_is_left_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fetched: list[dict] = []
    monkeypatch.setitem(sys.modules, "idc_index", idc_index(fetched))
    monkeypatch.setenv("KICC_DATA", str(tmp_path))
    result = run("get", "ricord1a")
    assert result.exit_code == 0
    assert [one["seriesInstanceUID"] for one in fetched] == [["1.1.1"], ["1.2.1"]]
    assert (tmp_path / "ricord1a" / "P1" / "1.1" / "1.1.1" / "0a1b.dcm").is_file()
    assert "CC BY-NC 4.0" in result.stdout
    assert "still to do by hand: the annotations MIDRC-RICORD-1a" in result.stdout


def test_get_downloads_a_collection_of_tcia(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def download_series(uids: list[str], path: str, input_type: str) -> None:
        assert input_type == "list"
        (Path(path) / uids[0]).mkdir()
        (Path(path) / uids[0] / "1-1.dcm").write_bytes(b"content")

    one = {"PatientID": "P1", "StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "ImageCount": 1}
    module = ModuleType("tcia_utils")
    module.nbia = SimpleNamespace(  # type: ignore[attr-defined]
        getSeries=lambda collection: [one] if collection == "CT Images in COVID-19" else None,
        downloadSeries=download_series,
    )
    monkeypatch.setitem(sys.modules, "tcia_utils", module)
    assert run("get", "covid19_20_tcia", "-o", tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / "P1" / "1.1" / "1.1.1" / "1.1.1" / "1-1.dcm").is_file()


@pytest.mark.parametrize(
    ("name", "module", "message"),
    [
        ("ricord1a", "idc_index", r"needs idc-index: pip install 'kicc_ml\[datasets\]'"),
        ("covid19_20_tcia", "tcia_utils", r"needs tcia-utils: pip install 'kicc_ml\[datasets\]'"),
        ("aiforcovid", "", "cannot be downloaded by a client .*; by hand: register at"),
    ],
)
def test_without_a_client_it_is_said_what_to_do(tmp_path: Path, monkeypatch, name: str, module: str, message: str):
    if module:
        monkeypatch.setitem(sys.modules, module, None)
    result = run("get", name, "-o", tmp_path / "out")
    assert isinstance(result.exception, UserError)
    with pytest.raises(UserError, match=message):
        raise result.exception
    assert not (tmp_path / "out").exists()
