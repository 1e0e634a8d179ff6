"""Cases as a file of the user's own: nothing but dates is lost, and no file is taken for another."""

import json
from collections import Counter
from dataclasses import fields, replace
from datetime import date, datetime
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kicc_ml.cohort.flow import Cohort, Flow
from kicc_ml.cohort.snapshot import read_snapshot, write_snapshot
from kicc_ml.core.types import Case, Series

FILES = (Path("repo/../repo/서울/P1/b.dcm"), Path("repo/../repo/서울/P1/a/c\udc80.dcm"))
CT = Series(
    **{"site": "서울", "patient": "p", "study": "s", "uid": "u", "modality": "CT", "files": FILES, "rows": 512},
    **{"columns": 256, "slices": 2, "spacing_mm": (0.7, 0.7, 5.0), "units": "hu", "verdict": "repaired"},
    **{"reasons": ("gantry_tilt", "missing_slice"), "acquired": datetime(2020, 3, 1, 10), "frames": (1, 0)},
    **{"kernel": "B60f", "plane": "axial", "tilt_degrees": 3.25, "acquired_after_study_s": 12.5, "vendor": "x"},
    grey_window_hu=(-1250.0, 250.0),
)
CXR = replace(CT, uid="x", modality="CXR", files=(Path("/data/한/x.dcm"),), spacing_mm=None, frames=(), reasons=())
CASES = [
    Case(
        **{"case_id": "b", "site": "서울", "person": "p", "ct": CT, "cxr": CXR, "admitted": date(2020, 2, 28)},
        clinical={"age_years": 61.0, "crp_mg_l": nan, "b": 1 / 3, "a": 0.1 + 0.2},
        endpoints={"icu": 1.0, "death": nan, "oxygen": 0},
        masks={"lesion": Path("repo/masks/u/lesion.nii.gz")},
        cxr_masks={"lung": (Path("/l.png"), Path("/r.png")), "lesion": ()},
        mask_labels={1: "lesion", 2: "consolidation"},
        region_labels={"lung": {1: "lung", 2: "lung"}, "lesion": {2: "lesion"}},
        further=(replace(CT, uid="later"), CXR),
        opacity_share=0.25,
    ),
    Case("a", "부산", "q"),
]
FLOW = Flow(3, 2, Counter({"z": 1, "cases with CT": 2}), Counter({"the person is a patient of another hospital": 1}))


def without_dates(case: Case) -> Case:
    def undated(series: Series | None) -> Series | None:
        return series and replace(series, acquired=None)

    further = tuple(replace(series, acquired=None) for series in case.further)
    return replace(case, admitted=None, ct=undated(case.ct), cxr=undated(case.cxr), further=further)


def comparable(case: Case) -> dict[str, Any]:
    """Plain values; NaN as a word, since it equals nothing, and tables with their order, which features follow."""
    values = {name: getattr(case, name) for name in (field.name for field in fields(Case))}
    return values | {
        name: [(key, "NaN" if np.isnan(value) else value) for key, value in values[name].items()]
        for name in ("clinical", "endpoints")
    }


def written(tmp_path: Path) -> Path:
    path = tmp_path / "state" / "cases.json"
    write_snapshot(path, Cohort(CASES, FLOW), "settings")
    return path


def test_everything_but_dates_comes_back_in_its_order(tmp_path: Path):
    found = read_snapshot(written(tmp_path), "settings")
    assert found is not None
    assert [comparable(case) for case in found] == [comparable(without_dates(case)) for case in CASES]
    assert found.flow == FLOW
    assert list(found.flow.counts) == ["z", "cases with CT"]


def test_the_first_case_has_a_value_of_every_kind():
    """Or a field that is lost would not be seen above."""
    assert not [field.name for field in fields(Case) if not getattr(CASES[0], field.name)]


def test_paths_come_back_letter_by_letter(tmp_path: Path):
    """A step up is not taken together with the folder before it, which may be a link."""
    found = read_snapshot(written(tmp_path), "settings")
    assert found is not None
    assert found[0].ct is not None
    assert [str(path) for path in found[0].ct.files] == [str(path) for path in FILES]


def test_the_file_is_the_users_alone_and_holds_no_date(tmp_path: Path):
    path = written(tmp_path)
    assert path.stat().st_mode & 0o077 == 0
    assert "2020" not in path.read_text()


def test_cases_read_by_other_settings_are_not_taken(tmp_path: Path):
    assert read_snapshot(written(tmp_path), "other") is None
    assert read_snapshot(tmp_path / "none.json", "settings") is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"{}", b"\xff", b'{"read_by": "settings"}'])
def test_a_damaged_file_is_as_none(tmp_path: Path, damage: bytes):
    path = written(tmp_path)
    path.write_bytes(damage)
    assert read_snapshot(path, "settings") is None


def test_a_file_of_another_version_is_as_none(tmp_path: Path):
    path = written(tmp_path)
    kept = json.loads(path.read_text())
    kept["cases"][0]["a_field_of_later"] = 1
    path.write_text(json.dumps(kept))
    assert read_snapshot(path, "settings") is None
