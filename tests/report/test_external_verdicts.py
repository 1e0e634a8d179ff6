"""Each file of risks made elsewhere has its verdict, with and without a model to compare it with."""

import re
from pathlib import Path

from markupsafe import escape

from kicc_ml.evaluation.text import format_estimate
from kicc_ml.report.external_predictions import evaluate_predictions, name_models
from tests.support.external_cohort import make_cohort, read_summary, write_probabilities
from tests.support.schemas import list_faults


def test_the_report_of_one_file_of_risks_judges_it_without_a_model_to_compare_with(tmp_path: Path) -> None:
    cases = make_cohort(tmp_path / "cohort")
    file = write_probabilities(tmp_path / "ours.csv", cases, 0)
    page = evaluate_predictions(name_models([file]), cases, tmp_path / "report")
    summary, text = read_summary(page), page.read_text(encoding="utf-8")
    found = summary["verdict"]["icu"]
    assert (found["model"], found["against"], found["verdict"], found["comparison"]) == ("ours", "", "not compared", "")
    assert "other_verdicts" not in summary
    words = text[text.index('<section id="verdict">') : text.index('<section id="done">')]
    shown = re.findall(r"<li>(.*?)</li>", words)
    assert shown == [escape(found[name]) for name in ("discrimination", "new_hospital", "calibration")]
    assert "Three questions, three answers: the AUC" in words
    area = summary["outcome"]["icu"]["ours"]["auroc"]["these_hospitals"]
    assert f"<td>{format_estimate(area)}</td>" in words
    first_page = text[text.index('<ul class="headlines">') : text.index("</header>")]
    assert re.search(r"ICU</a>, model ours: AUC 0\.\d\d [^;]*; the model ours is [^;]*\.</li>", first_page)


def test_each_of_two_files_of_risks_has_its_verdict(tmp_path: Path) -> None:
    cases = make_cohort(tmp_path / "cohort")
    files = [write_probabilities(tmp_path / f"{name}.csv", cases, seed) for seed, name in enumerate(("ours", "theirs"))]
    page = evaluate_predictions(name_models(files), cases, tmp_path / "report")
    summary, text = read_summary(page), page.read_text(encoding="utf-8")
    assert list_faults("summary", summary) == []
    first, (second,) = summary["verdict"]["icu"], summary["other_verdicts"]["icu"]
    assert [(one["model"], one["against"]) for one in (first, second)] == [("ours", "theirs"), ("theirs", "ours")]
    for one in (first, second):
        assert escape(one["discrimination"]) in text
        assert escape(one["comparison"]) in text
        assert f"model {one['model']}" in one["calibration"]
        assert text.count(f"ICU</a>, model {one['model']}: AUC") == 1
