"""What the index says of series written with one known defect each."""

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kicc_ml.core.errors import UserError
from kicc_ml.core.pseudonym import load_repository_key, make_pseudonym
from kicc_ml.dicom.index import scan
from kicc_ml.dicom.index.build import index_repository, index_sources
from kicc_ml.dicom.index.table import make_undated_index_table
from kicc_ml.dicom.series.reasons import REASONS
from tests.support.index_writers import ImageWriter, only

Writer = Callable[..., list[Path]]


def test_order_follows_position_not_instance_number_nor_file_name(tmp_path: Path, write_ct: Writer):
    paths = write_ct([30, 0, 20, 10])
    series = only(tmp_path)
    assert series.files == (paths[1], paths[3], paths[2], paths[0])
    assert (series.verdict, series.reasons) == ("usable", ())


def test_spacing_comes_from_positions_not_from_slice_thickness(tmp_path: Path, write_ct: Writer):
    write_ct([0, 8, 16, 24], SliceThickness=2)
    series = only(tmp_path)
    assert series.spacing_mm == pytest.approx((0.5, 0.7, 8.0))
    assert (series.slice_thickness_mm, series.slices, series.rows, series.columns) == (2.0, 4, 6, 8)


def test_missing_slice_is_refused_and_named(tmp_path: Path, write_ct: Writer):
    write_ct([0, 5, 15, 20])
    assert (only(tmp_path).verdict, only(tmp_path).reasons) == ("refused", ("missing_slice",))


def test_duplicated_file_is_dropped_and_reported(tmp_path: Path, write_ct: Writer):
    paths = write_ct([0, 5, 10, 15])
    twin = paths[2].with_name("copy")
    twin.write_bytes(paths[2].read_bytes())
    (series,), rows = index_sources([tmp_path])
    assert (series.verdict, series.reasons, series.slices) == ("repaired", ("duplicate_slice",), 4)
    assert [row.reason for row in rows] == ["duplicate_slice"]


def test_same_pixels_under_another_uid_at_one_position_are_a_duplicate(
    tmp_path: Path, write_ct: Writer, write_image: ImageWriter
):
    write_ct([0, 5, 10, 15])
    stored = np.full((6, 8), 1001, np.uint16)
    write_image(tmp_path / "seoul" / "again", stored, ImagePositionPatient=[-10, -20, 5])
    assert (only(tmp_path).verdict, only(tmp_path).slices) == ("repaired", 4)


def test_different_images_at_one_position_are_refused(tmp_path: Path, write_ct: Writer, write_image: ImageWriter):
    write_ct([0, 5, 10, 15])
    stored = np.full((6, 8), 7, np.uint16)
    write_image(tmp_path / "seoul" / "other", stored, ImagePositionPatient=[-10, -20, 5])
    assert only(tmp_path).reasons == ("overlapping_slices",)


def test_localizer_and_colour_dose_page_are_dropped_from_the_series(
    tmp_path: Path, write_ct: Writer, write_image: ImageWriter
):
    write_ct([0, 5, 10, 15])
    localizer = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    write_image(tmp_path / "seoul" / "scout", np.zeros((6, 8), np.uint16), **localizer)
    write_image(tmp_path / "seoul" / "page", np.zeros((6, 8, 3), np.uint8), **colour)
    (series,), rows = index_sources([tmp_path])
    assert (series.verdict, series.reasons, series.slices) == ("repaired", ("dose_page", "localizer"), 4)
    assert {row.path.name: row.reason for row in rows} == {"scout": "localizer", "page": "dose_page"}


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0.970296, -0.241922]}, "gantry_tilt"),
        ({"ImagePositionPatient": None}, "no_position"),
        ({"PixelSpacing": None}, "no_position"),
        ({"RescaleSlope": None}, "no_rescale"),
        ({"RescaleIntercept": None}, "no_rescale"),
        ({"Modality": "MR"}, "wrong_modality"),
        ({"ImageType": ["DERIVED", "SECONDARY", "REF_SURVIEW"]}, "localizer"),
        ({"NumberOfFrames": 2, "PixelData": bytes(2 * 6 * 8 * 2)}, "multi_frame"),
    ],
)
def test_series_is_refused_with_the_reason(tmp_path: Path, write_ct: Writer, tags: dict, reason: str):
    write_ct(**tags)
    series = only(tmp_path)
    assert series.verdict == "refused"
    assert reason in series.reasons
    assert reason in REASONS


def test_coronal_stack_is_usable_and_said_to_be_coronal(tmp_path: Path, write_image: ImageWriter):
    for index in range(4):
        tags = {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1], "ImagePositionPatient": [0, index * 3, 0]}
        write_image(tmp_path / "seoul" / str(index), np.full((6, 8), index, np.uint16), **tags)
    assert (only(tmp_path).verdict, only(tmp_path).reasons) == ("usable", ("coronal",))


def test_modality_is_taken_from_the_class_where_the_tag_was_stripped(tmp_path: Path, write_ct: Writer):
    write_ct(Modality=None)
    assert (only(tmp_path).modality, only(tmp_path).verdict) == ("CT", "usable")


@pytest.mark.parametrize("cut", [40, 90])
def test_truncated_slice_is_quarantined_like_a_missing_one(tmp_path: Path, write_ct: Writer, cut: int):
    middle = write_ct([0, 5, 10, 15, 20])[2]
    middle.write_bytes(middle.read_bytes()[:-cut])
    (series,), rows = index_sources([tmp_path])
    assert (series.verdict, series.reasons) == ("refused", ("missing_slice", "truncated"))
    assert [row.path for row in rows] == [middle]


def test_page_named_dcm_and_object_without_image_are_listed_with_why(
    tmp_path: Path, write_ct: Writer, write_image: ImageWriter
):
    write_ct()
    (tmp_path / "seoul" / "page.dcm").write_text("<!DOCTYPE html><html></html>" * 50)
    (tmp_path / "seoul" / "empty.dcm").touch()
    report = {"Modality": "SR", "Rows": None, "Columns": None, "PixelData": None}
    write_image(tmp_path / "seoul" / "report", np.zeros((1, 1), np.uint8), **report)
    (series,), rows = index_sources([tmp_path])
    assert series.usable
    reasons = {row.path.name: row.reason for row in rows}
    assert reasons == {"page.dcm": "not_dicom", "empty.dcm": "not_dicom", "report": "not_an_image"}


def test_file_without_preamble_is_read(tmp_path: Path, write_ct: Writer):
    for path in write_ct():
        path.write_bytes(path.read_bytes()[132:])
    assert only(tmp_path).verdict == "usable"


def test_same_patient_id_at_two_sites_is_two_patients(tmp_path: Path, write_ct: Writer):
    write_ct(site="seoul")
    write_ct(site="daegu")
    daegu, seoul = index_repository(tmp_path)
    assert (daegu.site, seoul.site) == ("daegu", "seoul")
    assert daegu.patient != seoul.patient
    assert seoul.patient == make_pseudonym(load_repository_key(tmp_path), "seoul", "A-17")


def test_nesting_below_the_site_does_not_matter(tmp_path: Path, write_ct: Writer):
    for index, path in enumerate(write_ct()):
        target = path.parent / f"deep{index % 2}" / "er" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    assert (only(tmp_path).site, only(tmp_path).verdict) == ("seoul", "usable")


def test_masks_truth_table_and_hidden_folders_are_no_images(tmp_path: Path, write_ct: Writer):
    for site in ("masks", "truth", ".trash"):
        write_ct(site=site)
    (tmp_path / "clinical.csv").write_text("site,patient_id\n")
    assert index_repository(tmp_path) == []


def test_korean_name_does_not_stop_the_index_nor_appear_in_it(tmp_path: Path, write_ct: Writer):
    charset = ["", "ISO 2022 IR 149"]
    write_ct(SpecificCharacterSet=charset, PatientName="Hong^Gildong=洪^吉洞=홍^길동")
    (series,), rows = index_sources([tmp_path])
    assert series.usable
    printed = make_undated_index_table([series], rows, [tmp_path]).to_csv()
    assert not any(word in printed for word in ("Hong", "길동", "A-17", "1.2.3.1"))


def test_unknown_character_set_does_not_stop_the_index(tmp_path: Path, write_ct: Writer):
    for path in write_ct(SpecificCharacterSet="ISO_IR 100", Manufacturer="Müller"):
        path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"KLINGON 99"))
    assert only(tmp_path).usable


def test_time_of_acquisition_is_read(tmp_path: Path, write_ct: Writer):
    write_ct(AcquisitionDate="20200302", AcquisitionTime="143005.25")
    assert only(tmp_path).acquired == datetime(2020, 3, 2, 14, 30, 5)


def test_file_name_that_is_no_utf8_is_indexed_cached_and_listed(tmp_path: Path, write_ct: Writer):
    first = write_ct()[0]
    first.rename(first.with_name(os.fsdecode("흉부".encode("cp949"))))
    cache = tmp_path / ".index.parquet"
    assert index_repository(tmp_path, cache) == index_repository(tmp_path, cache)
    make_undated_index_table(*index_sources([tmp_path]), [tmp_path]).to_parquet(tmp_path / ".frame.parquet")


def test_frame_has_the_promised_columns_and_names_files_by_their_series(tmp_path: Path, write_ct: Writer):
    write_ct([0, 5, 10])
    (tmp_path / "seoul" / "notes.txt").write_text("-")
    frame = make_undated_index_table(*index_sources([tmp_path]), [tmp_path])
    frame.to_parquet(tmp_path / "index.parquet")
    back = pd.read_parquet(tmp_path / "index.parquet")
    assert list(back["kind"]) == ["series", "file"]
    promised = {
        "site",
        "series",
        "modality",
        "files",
        "slices",
        "rows",
        "columns",
        "spacing_mm",
        "verdict",
        "reasons",
    }
    assert promised <= set(back.columns)
    assert list(back["files"][0]) == [f"seoul/{back['series'][0]}/{number}" for number in (1, 2, 3)]
    assert list(back["files"][1]) == ["seoul/notes.txt"]
    assert list(back["reasons"][1]) == ["not_dicom"]


def test_folder_that_is_not_there_is_the_users_error(tmp_path: Path):
    with pytest.raises(UserError, match="no such folder"):
        index_repository(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no file under"):
        index_sources([tmp_path])


def test_two_processes_give_the_same_index_as_one(tmp_path: Path, write_ct: Writer, monkeypatch: pytest.MonkeyPatch):
    write_ct()
    alone = index_repository(tmp_path)
    monkeypatch.setattr(scan, "MIN_PARALLEL_FILES", 1)
    monkeypatch.setattr(scan, "FILES_PER_BATCH", 2)
    assert index_repository(tmp_path) == alone


class TestCache:
    def test_unchanged_file_is_not_opened_again(
        self, tmp_path: Path, write_ct: Writer, monkeypatch: pytest.MonkeyPatch
    ):
        write_ct()
        cache = tmp_path / ".index.parquet"
        first = index_repository(tmp_path, cache)
        opened = []
        read = scan.read_headers
        monkeypatch.setattr(scan, "read_headers", lambda *given: opened.append(given[1]) or read(*given))
        assert index_repository(tmp_path, cache) == first
        assert opened == []
        write_ct([25], name="new")
        assert index_repository(tmp_path, cache)[0].slices == 6
        assert opened == ["seoul/new099"]

    def test_cache_of_another_key_is_not_believed(self, tmp_path: Path, write_ct: Writer):
        write_ct()
        cache = tmp_path / ".index.parquet"
        (before,) = index_repository(tmp_path, cache)
        (tmp_path / ".kicc-key").write_text("0123456789abcdef" * 4)
        (tmp_path / ".kicc-key").chmod(0o600)
        (after,) = index_repository(tmp_path, cache)
        assert after.patient != before.patient

    def test_damaged_cache_is_written_anew(self, tmp_path: Path, write_ct: Writer):
        write_ct()
        cache = tmp_path / ".index.parquet"
        cache.write_bytes(b"PAR1 not really")
        assert len(index_repository(tmp_path, cache)) == 1
        assert cache.read_bytes()[-4:] == b"PAR1"

    def test_cache_holds_neither_patient_id_nor_name_nor_uid(self, tmp_path: Path, write_ct: Writer):
        write_ct(PatientName="Hong^Gildong", PatientID="SECRET-4711", StudyInstanceUID="1.2.410.77")
        cache = tmp_path / ".index.parquet"
        index_repository(tmp_path, cache)
        written = cache.read_bytes() + pd.read_parquet(cache).to_csv().encode()
        assert not any(word in written for word in (b"Hong", b"SECRET-4711", b"1.2.410.77", b"1.2.3.1.1"))
