"""From a hospital's own workbook, foreign names and units, images of one hospital of two, to a report: one command."""

import json
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.support.commands import finished, train
from tests.support.consortium import write_patient

PAGE = (Path(__file__).parents[2] / "docs" / "own-hospitals.md").read_text(encoding="utf-8")


def read_page_block(start: str) -> str:
    """The block of the page on one's own hospitals that begins with ``start``."""
    [block] = [block for block in PAGE.split("```")[1::2] if block.lstrip("\n").startswith(start)]
    return block.lstrip("\n")


@pytest.mark.slow
def test_a_workbook_with_foreign_names_and_units_of_two_hospitals_becomes_a_report_in_one_command(tmp_path: Path):
    rng, rows = np.random.default_rng(1), []
    for hospital, factor in (("Heidelberg", 0.1), ("Mannheim", 1.0)):
        for number in range(40):
            crp = rng.gamma(3, 25)
            bad = "ja" if crp + rng.normal(0, 10) > 80 else "nein"
            value = f"{crp * factor:.1f}".replace(".", ",")
            rows.append([hospital, f"{number:04d}", 65, "weiblich", "01.03.2020", value, bad])
    root = tmp_path / "consortium"
    root.mkdir()
    columns = ["Klinik", "Fallnummer", "Alter", "Geschlecht", "Aufnahme", "CRP", "NIV oder Tod"]
    pd.DataFrame(rows, columns=columns).to_excel(root / "clinical.xlsx", index=False)
    (root / "columns.yaml").write_text(read_page_block("site: Klinik"), encoding="utf-8")
    write_patient(root, "0001", "Heidelberg")
    [line] = [line for line in PAGE.splitlines() if "train.py" in line and "niv_or_death" in line]
    script, *typed = shlex.split(line, comments=True)[1:]
    said = [word for word in typed if word not in ("cohort=repository", "cohort.root=DIR")]
    assert script == "train.py"
    assert len(said) == len(typed) - 2, "the support of tests adds these two"
    trained = train(root, tmp_path / "run", *said)
    assert finished(trained).is_file()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert summary["outcome"]["niv_or_death"]["clinical"]["auroc"]["value"] > 0.9  # units were brought together
    assert set(summary["sites"]) == {"Heidelberg", "Mannheim"}
    flow = json.loads((tmp_path / "run" / "flow.json").read_text(encoding="utf-8"))["counts"]
    assert flow["values of crp_mg_l at Heidelberg converted from mg/dL"] == 40
    assert (flow["cases with CT"], flow["cases with no image"]) == (1, 79)
