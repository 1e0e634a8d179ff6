"""MIDRC-RICORD-1A as TCIA lays it out, with made-up slices and outlines."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kicc_ml.cohort.public.ricord import ricord1a
from kicc_ml.core.errors import UserError
from kicc_ml.data.masks import reference_masks
from kicc_ml.dicom.volume.read import read_volume
from tests.support.phantom_files import write_series
from tests.support.phantoms import Grid, even_mm

JSON = "MIDRC-RICORD-1a_annotations_labelgroup_all_2020-Dec-8.json"
GRID = Grid(even_mm(6), rows=16, columns=20)
#: A label has another id in each group.
LABELS = [
    {"Infectious opacity": "L_1", "Infectious TIB/micronodules": "L_2", "Atelectasis": "L_3", "Typical": "L_4"},
    {"Infectious opacity": "L_5", "Atelectasis": "L_6", "Noninfectious nodule/mass": "L_7"},
]
SQUARE = [[4, 3], [9, 3], [9, 7], [4, 7]]  # 5 columns x 4 rows


def series_uid(number: int) -> str:
    return f"1.2.826.0.1.{40000 + number}"


def sop_uid(number: int, k: int) -> str:
    return f"1.2.826.0.2.{number}.{k}"


def lay_series(root: Path, number: int, patient: str) -> None:
    folder = root / "manifest-1608266677008" / "MIDRC-RICORD-1A" / patient / "11-20-2008-NA-NA-25678" / f"{number}-NA"
    write_series(
        folder,
        GRID,
        tags_of=lambda k: {"SOPInstanceUID": sop_uid(number, k)},
        PatientID=patient,
        SeriesInstanceUID=series_uid(number),
        StudyInstanceUID=f"1.2.826.0.3.{number}",
    )


def drawn(number: int, k: int, label: str = "L_1", by: str = "U_a", vertices: Any = SQUARE, **other: Any) -> dict:
    return {
        "id": "A_1",
        "labelId": label,
        "StudyInstanceUID": f"1.2.826.0.3.{number}",
        "SeriesInstanceUID": series_uid(number),
        "SOPInstanceUID": sop_uid(number, k),
        "data": {"vertices": vertices},
        "createdById": by,
        "annotationMode": "freeform",
    } | other


def lay_annotations(root: Path, annotations: Sequence[dict], name: str = JSON) -> None:
    groups = [
        {
            "id": f"G_{n}",
            "name": "group",
            "labels": [{"id": i, "name": name, "scope": "INSTANCE"} for name, i in g.items()],
        }
        for n, g in enumerate(LABELS)
    ]
    content = {"datasets": [{"id": "D_1", "name": "1a", "studies": [], "annotations": list(annotations)}]}
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps(content | {"labelGroups": groups}), encoding="utf-8")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    lay_series(tmp_path / "set", 1, "MIDRC-RICORD-1A-419639-000082")
    lay_series(tmp_path / "set", 2, "MIDRC-RICORD-1A-SITE2-000106")
    return tmp_path / "set"


def lesion(case) -> np.ndarray:
    """The lesion on the grid of the CT ``[x, y, z]``, z in order of position."""
    return reference_masks(case, read_volume(case.ct))["lesion"]


def test_hospital_person_and_id_come_from_the_patient_number(root: Path):
    lay_annotations(root, [drawn(1, 0), drawn(2, 0)])
    assert [(case.case_id, case.site, case.person) for case in ricord1a(root)] == [
        ("MIDRC-RICORD-1A-419639-000082_40001", "419639", "MIDRC-RICORD-1A-419639-000082"),
        ("MIDRC-RICORD-1A-SITE2-000106_40002", "SITE2", "MIDRC-RICORD-1A-SITE2-000106"),
    ]


def test_an_outline_marks_its_columns_and_rows_on_its_own_slice(root: Path):
    lay_annotations(root, [drawn(1, 4)])
    marked = np.argwhere(lesion(ricord1a(root)[0]))
    assert {tuple(axis) for axis in (np.unique(marked[:, 0]), np.unique(marked[:, 1]), np.unique(marked[:, 2]))} == {
        (4, 5, 6, 7, 8),
        (3, 4, 5, 6),
        (4,),
    }
    assert len(marked) == 20


@pytest.mark.parametrize(("label", "voxels"), [("L_1", 20), ("L_5", 20), ("L_2", 20), ("L_3", 0), ("L_7", 0)])
def test_infectious_opacity_and_micronodules_of_any_group_are_the_lesion(root: Path, label: str, voxels: int):
    lay_annotations(root, [drawn(1, 2, label)])
    assert lesion(ricord1a(root)[0]).sum() == voxels


def test_of_two_annotators_either_marks_and_of_three_two_do(root: Path):
    a, b, c = SQUARE, [[6, 3], [11, 3], [11, 7], [6, 7]], [[14, 10], [16, 10], [16, 12], [14, 12]]
    lay_annotations(root, [drawn(1, 2, by="U_a", vertices=a), drawn(1, 2, by="U_b", vertices=b)])
    assert lesion(ricord1a(root)[0]).sum() == 7 * 4
    three = [drawn(1, 2, by=f"U_{name}", vertices=corners) for name, corners in (("a", a), ("b", b), ("c", c))]
    lay_annotations(root, three)
    assert lesion(ricord1a(root)[0]).sum() == 3 * 4


def test_two_outlines_of_one_annotator_are_one_voice(root: Path):
    lay_annotations(root, [drawn(1, 2), drawn(1, 2), drawn(1, 2, "L_3", by="U_b"), drawn(1, 2, "L_3", by="U_c")])
    assert lesion(ricord1a(root)[0]).sum() == 0


@pytest.mark.parametrize(
    "broken",
    [
        {"data": None},
        {"data": {}},
        {"data": {"vertices": [[1, 2], [3, 4]]}},
        {"data": {"vertices": [[1, 2], [3, 4], [None, 5]]}},
        {"SOPInstanceUID": None},
        {"SeriesInstanceUID": None, "SOPInstanceUID": None, "data": None},
        {"labelId": "L_other"},
    ],
)
def test_annotations_without_an_outline_are_counted_and_not_used(root: Path, broken: dict):
    lay_annotations(root, [drawn(1, 0, "L_3"), drawn(1, 2) | broken])
    cohort = ricord1a(root)
    assert lesion(cohort[0]).sum() == 0
    assert sum(count for what, count in cohort.flow.counts.items() if what.startswith("annotations")) == 1


def test_series_without_outlines_are_left_out_and_absent_ones_counted(root: Path):
    lay_annotations(root, [drawn(1, 0), drawn(9, 0)])
    flow = ricord1a(root).flow
    assert (flow.rows, flow.cases, flow.excluded["no outline"]) == (2, 1, 1)
    assert flow.counts["annotated series that are not in the folder"] == 1


def test_an_outline_on_a_slice_that_is_not_there_is_said(root: Path, caplog):
    lay_annotations(root, [drawn(1, 0), drawn(1, 77)])
    assert lesion(ricord1a(root)[0]).sum() == 20
    assert "1 outline on slices that are not there" in caplog.text


def test_a_mask_is_made_once_and_anew_when_an_outline_changes(root: Path, monkeypatch: pytest.MonkeyPatch):
    lay_annotations(root, [drawn(1, 0)])
    (first,) = ricord1a(root)
    written = first.masks["lesion"].stat().st_mtime_ns
    assert ricord1a(root)[0].masks["lesion"].stat().st_mtime_ns == written
    lay_annotations(root, [drawn(1, 0), drawn(1, 1)])
    assert lesion(ricord1a(root)[0]).sum() == 40


def test_nothing_is_written_beside_the_images(root: Path):
    lay_annotations(root, [drawn(1, 0)])
    before = sorted(root.rglob("*"))
    ricord1a(root)
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("names", [(), (JSON, "copy of annotations.JSON")])
def test_none_or_two_files_of_annotations_are_refused(root: Path, names: Sequence[str]):
    for name in names:
        lay_annotations(root, [drawn(1, 0)], name)
    with pytest.raises(UserError, match=rf"holds {len(names)} files .*2020-Dec-8.json of TCIA"):
        ricord1a(root)


@pytest.mark.parametrize("content", ["{}", "[]", '{"labelGroups": 3, "datasets": [4]}', "{"])
def test_a_file_that_is_no_export_is_refused_with_a_remedy(root: Path, content: str):
    (root / JSON).write_text(content)
    with pytest.raises(UserError, match="download the annotations again"):
        ricord1a(root)


def test_images_of_another_set_are_refused(tmp_path: Path):
    lay_series(tmp_path / "set", 1, "A123456")
    lay_annotations(tmp_path / "set", [drawn(1, 0)])
    with pytest.raises(UserError, match="PatientID is none of MIDRC-RICORD-1A"):
        ricord1a(tmp_path / "set")


def test_annotations_without_any_of_their_images_say_so(root: Path):
    lay_annotations(root, [drawn(7, 0)])
    with pytest.raises(UserError, match="none of the 1 annotated series"):
        ricord1a(root)
