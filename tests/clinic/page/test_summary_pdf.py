"""The sheet holds the values of the page, as the text extraction of another library reads them."""

import io
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from kicc_ml.clinic.page.page import PatientPage, Scan
from kicc_ml.clinic.page.scan import make_ct_display
from kicc_ml.clinic.page.summary_pdf import make_summary_pdf
from kicc_ml.core.types import Risk
from kicc_ml.severity.grade import grade


@pytest.fixture
def montage(tmp_path: Path) -> Path:
    path = tmp_path / "montage.png"
    Image.new("RGB", (400, 200), (60, 60, 60)).save(path)
    return path


@pytest.fixture
def scan(chest) -> Scan:
    volume, masks = chest
    return Scan(make_ct_display(volume, masks), grade(masks, volume.affine_ras, volume.array), (3.0, 9.0))


def read_words(pdf: bytes) -> str:
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext here: apt-get install poppler-utils")
    return subprocess.run(
        ["pdftotext", "-layout", "-", "-"], input=pdf, capture_output=True, check=True
    ).stdout.decode()


def test_it_is_one_pdf_sheet_with_the_figures_of_the_page(scan: Scan, montage: Path):
    risks = (Risk("oxygen", 0.31, 0.22, 0.43, {"slope": "0.9"}, 0.18), Risk("icu", 0.07, None, None, {}))
    page = PatientPage("seoul_17", scan, risks=risks, risks_from="CT, 5 of 7", provenance={"model": "12ab"})
    text = read_words(make_summary_pdf(page, montage))
    assert text.count("\f") == 1
    for expected in (
        "seoul_17",
        "Research use only",
        "not compared",
        "31 (22–43) %",
        "18 %",
        "CT, 5 of 7",
        "slope 0.9",
        "model: 12ab",
        "3–9 %",
    ):
        assert expected in text
    assert f"{scan.severity.lesion_ml:.0f} mL" in text


def test_identity_is_printed_only_where_it_was_given(scan: Scan, montage: Path):
    assert "HONG" not in read_words(make_summary_pdf(PatientPage("seoul_17", scan), montage))
    assert "HONG" in read_words(
        make_summary_pdf(PatientPage("seoul_17", scan, identity={"Name": "HONG GILDONG"}), montage)
    )


def test_unknown_figures_are_said_to_be_unknown(chest, montage: Path):
    volume, masks = chest
    severity = grade({"lung": masks["right_lung"] | masks["left_lung"], "lesion": masks["lesion"]}, volume.affine_ras)
    page = PatientPage("seoul_17", Scan(make_ct_display(volume, masks), severity))
    assert "not available" in read_words(make_summary_pdf(page, montage))
    assert io.BytesIO(make_summary_pdf(page, montage)).read(5) == b"%PDF-"
