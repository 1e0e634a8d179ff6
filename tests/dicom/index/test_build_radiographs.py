"""Radiographs in the index: each film a series, and what may hold text or contradicts itself is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kicc_ml.dicom.index.build import index_repository
from kicc_ml.prediction.result import has_burned_in_text
from tests.support.index_writers import ImageWriter, only
from tests.support.phantom_files import CR_IMAGE, SECONDARY_CAPTURE


class TestRadiographs:
    def test_each_radiograph_is_a_series_of_its_own(self, tmp_path: Path, write_cxr: Callable[..., Path]):
        write_cxr(np.zeros((6, 8), np.uint16), "one")
        write_cxr(np.ones((6, 8), np.uint16), "two", ViewPosition="AP")
        series = index_repository(tmp_path)
        assert sorted((one.modality, one.projection, one.slices) for one in series) == [
            ("CXR", "AP", 1),
            ("CXR", "PA", 1),
        ]
        assert series[0].uid != series[1].uid
        assert series[0].study == series[1].study

    @pytest.mark.parametrize(
        "tags",
        [
            {"ViewPosition": "LL"},
            {"ViewPosition": "LLD"},
            {"ViewPosition": "", "SeriesDescription": "Chest Lat"},
            {"ViewPosition": None, "ProtocolName": "THORAX LATERAL"},
        ],
    )
    def test_lateral_view_is_refused(self, tmp_path: Path, write_cxr: Callable[..., Path], tags: dict):
        write_cxr(np.zeros((6, 8), np.uint16), **tags)
        assert only(tmp_path).reasons == ("lateral_view",)

    def test_description_of_both_views_does_not_make_a_lateral(self, tmp_path: Path, write_cxr: Callable[..., Path]):
        write_cxr(np.zeros((6, 8), np.uint16), ViewPosition=None, SeriesDescription="Chest PA and Lat")
        assert (only(tmp_path).verdict, only(tmp_path).projection) == ("usable", "")

    def test_radiograph_whose_modality_says_ct_is_refused(self, tmp_path: Path, write_cxr: Callable[..., Path]):
        write_cxr(np.zeros((6, 8), np.uint16), Modality="CT")
        assert "no_position" in only(tmp_path).reasons


def test_radiographs_of_one_uid_that_contradict_each_other_are_refused(tmp_path: Path, write_cxr: Callable[..., Path]):
    stored = np.arange(48, dtype=np.uint16).reshape(6, 8)
    write_cxr(stored, "one", SOPInstanceUID="1.2.3.9")
    write_cxr(stored, "other", SOPInstanceUID="1.2.3.9", PhotometricInterpretation="MONOCHROME1")
    assert (only(tmp_path).verdict, only(tmp_path).reasons) == ("refused", ("contradicting_copies",))


@pytest.mark.parametrize(
    ("sop_class", "stated", "reasons"),
    [
        (SECONDARY_CAPTURE, None, ("text_unstated",)),
        (SECONDARY_CAPTURE, "", ("text_unstated",)),
        (SECONDARY_CAPTURE, "UNKNOWN", ("text_unstated",)),
        (SECONDARY_CAPTURE, "YES", ("burned_in",)),
        (SECONDARY_CAPTURE, "NO", ()),
        (CR_IMAGE, None, ()),
        (CR_IMAGE, "YES", ("burned_in",)),
    ],
)
@pytest.mark.parametrize("cached", [False, True])
def test_a_radiograph_stored_as_a_secondary_capture_may_hold_text_unless_it_says_no(
    tmp_path: Path, write_cxr: ImageWriter, sop_class: str, stated: str | None, reasons: tuple[str, ...], cached: bool
):
    write_cxr(np.arange(48, dtype=np.uint16).reshape(6, 8), SOPClassUID=sop_class, BurnedInAnnotation=stated)
    found = [index_repository(tmp_path, tmp_path / "cache.parquet" if cached else None) for _ in range(2)]
    assert [(one.verdict, one.reasons, has_burned_in_text(one)) for (one,) in found] == [
        ("usable", reasons, bool(reasons))
    ] * 2
