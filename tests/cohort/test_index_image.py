"""Which image of a patient stands for the day that predictions are made on."""

from dataclasses import replace
from datetime import date, datetime

import pytest

from kicc_ml.cohort.index_image import IndexRule, further_images, index_image
from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Series

ADMITTED = {"admission_date": date(2020, 3, 10)}
CT = Series(
    site="A", patient="p", study="s", uid="u", modality="CT", files=(), rows=4, columns=4, slices=30,
    spacing_mm=(1.0, 1.0, 5.0), units="hu", verdict="usable",
)  # fmt: skip


def ct(day: int | None, **changes) -> Series:
    acquired = datetime(2020, 3, day, 9) if day else None
    return replace(CT, **{"uid": f"{day}", "study": f"study {day}", "acquired": acquired} | changes)


def test_the_first_image_within_the_window_is_taken():
    image, obstacles = index_image("CT", [ct(25), ct(12), ct(11), ct(2)], ADMITTED, IndexRule())
    assert image == ct(11)
    assert obstacles == {"CT series not used: outside the window around admission": 2}


@pytest.mark.parametrize(("day", "used"), [(8, False), (9, True), (17, True), (18, False)])
def test_the_window_includes_its_first_and_last_day(day, used):
    assert (index_image("CT", [ct(day)], ADMITTED, IndexRule(ct_window_days=(-1, 7)))[0] is not None) == used


def test_without_an_admission_date_the_earliest_image_is_taken():
    assert index_image("CT", [ct(25), ct(2)], {}, IndexRule())[0] == ct(2)


def test_an_image_after_any_endpoint_is_not_used_but_one_of_the_day_is():
    row = ADMITTED | {
        "icu": 1.0,
        "icu_date": date(2020, 3, 12),
        "death": 1.0,
        "death_date": date(2020, 3, 20),
    }
    assert index_image("CT", [ct(12)], row, IndexRule())[0] == ct(12)
    image, obstacles = index_image("CT", [ct(13)], row, IndexRule())
    assert image is None
    assert obstacles == {"CT series not used: taken after an endpoint": 1}


def test_the_guard_holds_without_an_admission_date():
    assert index_image("CT", [ct(13)], {"icu": 1.0, "icu_date": date(2020, 3, 12)}, IndexRule())[0] is None


def test_endpoints_that_are_not_guarded_do_not_bar_an_image():
    row = ADMITTED | {"icu": 1.0, "icu_date": date(2020, 3, 12)}
    assert index_image("CT", [ct(13)], row, IndexRule(guard_endpoints=("death",)))[0] == ct(13)


def test_a_date_beside_an_endpoint_that_did_not_happen_bars_nothing():
    assert index_image("CT", [ct(13)], ADMITTED | {"icu": 0.0, "icu_date": date(2020, 3, 12)}, IndexRule())[0]


def test_an_undated_image_is_used_only_where_no_date_binds_it():
    assert index_image("CT", [ct(None)], {}, IndexRule())[0]
    assert index_image("CT", [ct(None)], ADMITTED, IndexRule())[0] is None
    assert index_image("CT", [ct(None)], ADMITTED, IndexRule(ct_window_days=None))[0]


def test_the_series_with_most_slices_then_the_thinnest_of_the_study_is_taken():
    thick = ct(11, uid="thick", slices=30)
    thin = ct(11, uid="thin", slices=60, spacing_mm=(1.0, 1.0, 1.0))
    part = ct(11, uid="part", slices=60, spacing_mm=(1.0, 1.0, 2.0))
    later = ct(12, slices=300)
    assert index_image("CT", [later, thick, part, thin], ADMITTED, IndexRule())[0] == thin


def test_a_pa_radiograph_is_preferred_to_an_ap_of_the_same_moment():
    ap, pa = (ct(11, modality="CXR", uid=view, projection=view) for view in ("AP", "PA"))
    assert index_image("CXR", [ap, pa, ct(10)], ADMITTED, IndexRule())[0] == pa


def test_a_window_that_ends_before_it_starts_is_refused():
    with pytest.raises(UserError, match="first, last"):
        IndexRule(ct_window_days=(7, -1))


def test_of_serial_images_the_latest_before_the_endpoint_can_be_taken():
    row = ADMITTED | {"icu": 1.0, "icu_date": date(2020, 3, 14)}
    latest = IndexRule(serial="latest")
    assert index_image("CT", [ct(11), ct(13), ct(15)], row, latest)[0] == ct(13)
    films = [ct(day, modality="CXR", study="one stay") for day in (11, 13, 15)]
    assert index_image("CXR", films, row, latest)[0] == films[1]
    assert index_image("CXR", films, row, IndexRule())[0] == films[0]


def test_an_undated_image_is_the_latest_only_where_no_other_is_dated():
    latest = IndexRule(serial="latest")
    assert index_image("CT", [ct(None), ct(2)], {}, latest)[0] == ct(2)
    assert index_image("CXR", [ct(None, modality="CXR")], {}, latest)[0] == ct(None, modality="CXR")


def test_another_word_for_serial_images_is_refused():
    with pytest.raises(UserError, match="first or latest"):
        IndexRule(serial="middle")  # type: ignore[arg-type]


def test_pooled_images_are_all_of_the_window_before_the_endpoint_one_of_each_time():
    row = ADMITTED | {"icu": 1.0, "icu_date": date(2020, 3, 14)}
    pooled = IndexRule(serial="pooled")
    thin = ct(13, uid="thin", slices=60, spacing_mm=(1.0, 1.0, 1.0))
    scans = [ct(15), ct(13), thin, ct(11), ct(2)]
    assert index_image("CT", scans, row, pooled)[0] == ct(11)
    assert further_images("CT", scans, row, pooled) == (thin,)
    films = [ct(day, modality="CXR", study="one stay") for day in (13, 11, 12)]
    assert further_images("CXR", films, row, pooled) == (films[2], films[0])
    assert further_images("CXR", films, row, IndexRule()) == ()
