"""The index as table, page and terminal summary: what it says, and what it must not say."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from kicc_ml.core.pseudonym import compute_shift_days, load_repository_key, make_pseudonym
from kicc_ml.dicom.index.build import read_index
from kicc_ml.dicom.index.page import render
from kicc_ml.dicom.index.summary import MAX_LISTED_SERIES, count_by_reason, count_by_site, format_totals, make_tables
from kicc_ml.dicom.index.table import COLUMNS, make_index_table
from kicc_ml.dicom.series.geometry import GeometryPolicy
from kicc_ml.dicom.series.reasons import REASONS
from kicc_ml.dicom.series.remedies import REMEDIES

Writer = Callable[..., list[Path]]
ImageWriter = Callable[..., Path]


@pytest.fixture
def frame(tmp_path: Path, write_ct: Writer, write_cxr: ImageWriter) -> pd.DataFrame:
    """Seoul: a good CT, a CT with a gap, a radiograph, a page. Busan: a tilted CT with a slice twice."""
    dated = {"StudyDate": "20200301", "StudyTime": "100000", "AcquisitionDate": "20200301", "AcquisitionTime": "100130"}
    write_ct(name="good", SeriesInstanceUID="1.2.7", Manufacturer="ACME <b>", CTDIvol=1.5, **dated)
    write_ct([0, 5, 15, 20], name="gap", SeriesInstanceUID="1.2.8")
    write_cxr(np.arange(48, dtype=np.uint16).reshape(6, 8), SeriesInstanceUID="1.2.9")
    (tmp_path / "seoul" / "page.html").write_text("<html>")
    tilted = write_ct(site="busan", ImageOrientationPatient=[1, 0, 0, 0, 0.970296, -0.241922])
    tilted[0].with_name("twice").write_bytes(tilted[0].read_bytes())
    return make_index_table(read_index([tmp_path]))


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def row_of(frame: pd.DataFrame, **values: Any) -> pd.Series:
    chosen = np.logical_and.reduce([frame[name] == value for name, value in values.items()])
    (row,) = (row for _, row in frame[chosen].iterrows())
    return row


class TestFrame:
    def test_it_has_all_columns_and_survives_parquet(self, frame: pd.DataFrame, tmp_path: Path):
        assert tuple(frame.columns) == COLUMNS
        frame.to_parquet(tmp_path / "f.parquet")
        back = pd.read_parquet(tmp_path / "f.parquet")
        assert back["reasons"].map(list).tolist() == frame["reasons"].tolist()

    def test_a_series_is_described(self, frame: pd.DataFrame):
        good = row_of(frame, kind="series", site="seoul", modality="CT", verdict="usable")
        assert (good["plane"], good["coverage_mm"], good["dose_class"], good["vendor"]) == (
            "axial",
            25,
            "low",
            "ACME <b>",
        )
        assert (good["transfer_syntax"], good["acquired_after_study_s"]) == ("1.2.840.10008.1.2.1", 90)
        assert row_of(frame, site="busan", kind="series")["tilt_degrees"] == pytest.approx(14, abs=0.1)
        assert row_of(frame, modality="CXR")["view"] == "PA"

    def test_dates_are_those_of_the_file_moved_by_the_patients_days_and_tell_the_hour_and_no_more(
        self, frame: pd.DataFrame, tmp_path: Path
    ):
        key = load_repository_key(tmp_path)
        days = compute_shift_days(key, make_pseudonym(key, "seoul", "A-17"))
        good = row_of(frame, kind="series", site="seoul", modality="CT", verdict="usable")
        assert good["acquired"] == datetime(2020, 3, 1, 10) + timedelta(days=days)

    def test_a_folder_named_after_the_patient_is_shown_as_the_patients_pseudonym(
        self, tmp_path: Path, write_ct: Writer
    ):
        write_ct(site="A-17", PatientName="Hong^Gildong", name="HONG_")
        frame = make_index_table(read_index([tmp_path]))
        hidden = make_pseudonym(load_repository_key(tmp_path), "A-17")
        assert frame["site"][0] == hidden
        assert frame["files"][0][0].startswith(f"{hidden}/")
        assert not re.search("A-17|HONG", frame.to_csv())

    def test_a_policy_changes_the_verdict(self, frame: pd.DataFrame, tmp_path: Path):
        mended = make_index_table(read_index([tmp_path], GeometryPolicy("resample", "shear")))
        counts = [one.loc[one["kind"] == "series", "verdict"].value_counts().to_dict() for one in (frame, mended)]
        assert counts == [{"usable": 2, "refused": 2}, {"usable": 2, "repaired": 2}]

    def test_decoding_refuses_what_cannot_be_decoded(self, tmp_path: Path, write_ct: Writer):
        for path in write_ct():
            path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"))
        (found,) = read_index([tmp_path], decode=True)
        assert [one.verdict for one in found.series] == ["refused"]

    def test_headers_are_kept_with_the_user_and_not_in_the_source(
        self,
        tmp_path: Path,
        write_ct: Writer,
        tmp_path_factory: pytest.TempPathFactory,
        monkeypatch: pytest.MonkeyPatch,
    ):
        write_ct()
        cache = tmp_path_factory.mktemp("cache")
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
        before = sorted(tmp_path.rglob("*"))
        read_index([tmp_path], cached=True)
        assert sorted(tmp_path.rglob("*")) == before
        assert [path.suffix for path in (cache / "kicc_ml" / "index").iterdir()] == [".parquet"]

    def test_a_file_too_large_to_be_an_image_is_a_row(self, tmp_path: Path, write_ct: Writer):
        write_ct()
        write_ct([99], name="giant", Rows=65535, Columns=65535, SeriesInstanceUID="1.2.7")
        frame = make_index_table(read_index([tmp_path]))
        assert row_of(frame, verdict="usable")["slices"] == 5
        assert row_of(frame, verdict="refused")["reasons"] == ["too_large"]


class TestSummary:
    def test_sites_and_verdicts_are_counted(self, frame: pd.DataFrame):
        assert count_by_site(frame).loc["seoul"].to_dict() == {
            "usable": 2,
            "repaired": 0,
            "refused": 1,
            "files in no series": 1,
        }
        assert count_by_site(frame).loc["busan"].to_dict() == {
            "usable": 0,
            "repaired": 0,
            "refused": 1,
            "files in no series": 1,
        }
        assert format_totals(frame) == "2 files refused, 2 series refused, 2 series usable"

    def test_reasons_that_cost_series_come_before_those_that_cost_files(self, frame: pd.DataFrame):
        reasons = count_by_reason(frame)
        lost = dict(zip(reasons["reason"], reasons["lost series"], strict=True))
        assert (lost["gantry_tilt"], lost["missing_slice"], lost["not_dicom"]) == (1, 1, 0)
        assert list(reasons["lost series"]) == sorted(reasons["lost series"], reverse=True)
        assert list(reasons["reason"])[-1] == "not_dicom"

    def test_what_is_only_said_of_a_series_is_not_what_it_was_lost_for(self, tmp_path: Path, write_image: ImageWriter):
        for index, height in enumerate((0, 3, 9)):
            tags = {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1], "ImagePositionPatient": [0, height, 0]}
            write_image(tmp_path / "seoul" / str(index), np.full((6, 8), index, np.uint16), **tags)
        reasons = count_by_reason(make_index_table(read_index([tmp_path]))).set_index("reason")
        assert reasons.loc["coronal", ["lost series", "other series"]].tolist() == [0, 1]

    def test_every_remedy_is_of_a_known_reason(self):
        assert REMEDIES.keys() <= REASONS.keys()

    def test_series_are_listed_one_by_one_only_where_they_are_few_or_asked_for(self, frame: pd.DataFrame):
        many = pd.concat([frame] * MAX_LISTED_SERIES, ignore_index=True)
        assert [len(list(make_tables(one))) for one in (frame, many)] == [3, 2]
        assert len(list(make_tables(many, all_series=True))) == 3

    def test_a_folder_that_looks_like_markup_is_printed_as_it_is(self, tmp_path: Path, write_ct: Writer):
        write_ct(site="[bold]x")
        console = Console(width=200, record=True)
        for table in make_tables(make_index_table(read_index([tmp_path]))):
            console.print(table)
        assert "[bold]x" in console.export_text()


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


class TestPage:
    def test_it_asks_for_nothing_from_anywhere(self, frame: pd.DataFrame):
        page = render(frame)
        for tag, attributes in _Page(page).tags:
            assert tag not in ("link", "img", "iframe", "object")
            assert not {"src", "href"} & attributes.keys()
        assert not re.search(r"url\(|@import|https?://|fetch\(", page)

    def test_it_has_a_row_per_series_and_file_with_reasons_in_words(self, frame: pd.DataFrame):
        page = render(frame)
        rows = [attributes for tag, attributes in _Page(page).tags if tag == "tr" and "data-verdict" in attributes]
        assert len(rows) == 4
        assert page.count(REASONS["missing_slice"]) == 2  # in the list of reasons, and at its series
        assert REMEDIES["missing_slice"] in page
        assert REASONS["not_dicom"] in page
        assert "seoul/page.html" in page

    def test_values_of_files_are_text_and_never_markup(self, frame: pd.DataFrame):
        assert "ACME &lt;b&gt;" in render(frame)

    def test_neither_number_nor_uid_nor_date_is_in_it(self, frame: pd.DataFrame):
        assert not re.search(r"A-17|1\.2\.[379]\b|2020|2019-", render(frame))

    def test_an_index_of_files_alone_has_a_page(self, tmp_path: Path):
        (tmp_path / "seoul").mkdir()
        (tmp_path / "seoul" / "notes.txt").write_text("-")
        assert REASONS["not_dicom"] in render(make_index_table(read_index([tmp_path])))
