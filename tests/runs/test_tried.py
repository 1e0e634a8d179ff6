"""A run says how many settings were tried beside its own."""

from pathlib import Path

import pytest

from kicc_ml.core.errors import UserError
from kicc_ml.report.sweep_table import describe_tried
from kicc_ml.runs.tried import TRIED, note_tried, read_tried


def test_what_is_noted_beside_a_run_is_read_for_the_run_and_for_its_parts(tmp_path: Path):
    note_tried(tmp_path / "demo", 3, "reported")
    for run in (tmp_path / "demo", tmp_path / "demo" / "lesion_ct"):
        assert read_tried([run]) == {"count": 3, "compared_by": "reported", "reason": None}


def test_a_run_of_no_sweep_says_that_nothing_is_known_of_others(tmp_path: Path):
    found = read_tried([tmp_path / "run"])
    assert (found["count"], found["compared_by"]) == (None, None)
    assert "not known" in found["reason"]
    assert describe_tried(found) == ""


@pytest.mark.parametrize("text", ['{"count": -1, "compared_by": "reported"}', '{"count": 2, "compared_by": 1}', "[]"])
def test_a_file_that_says_something_else_is_one_sentence_with_the_way_on(tmp_path: Path, text: str):
    (tmp_path / TRIED).write_text(text)
    with pytest.raises(UserError, match=rf"{TRIED}.*remove it"):
        read_tried([tmp_path])


def test_a_report_names_the_number_and_by_what_the_settings_were_compared():
    sweep = describe_tried({"count": 2, "compared_by": "reported"})
    search = describe_tried({"count": 20, "compared_by": "validation"})
    assert sweep.startswith("2 settings were tried on the same folds.")
    assert search.startswith("A search tried 20 settings and compared them by validation patients.")
    nested = describe_tried({"count": 3, "compared_by": "inner"})
    assert nested.startswith("3 settings were tried. Each fold takes those that were best on its own validation")
    assert all("evaluate the selected one on other patients" in said for said in (sweep, search))
