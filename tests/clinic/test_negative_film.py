"""A new radiograph that is a negative is measured as the radiograph that it is of, and its results say so."""

import html
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kicc_ml.clinic.new_scan import NewScanPipeline
from kicc_ml.core.received import read_json_object
from kicc_ml.dicom.pixels.polarity import invert
from kicc_ml.dicom.series.image_files import make_radiograph_series
from kicc_ml.prediction.segmentation import predict_series
from tests.support.dark_lung_network import dark_lung_segmenter
from tests.support.phantom_films import film
from tests.support.predicted_scan import MODEL, NOTHING

#: Said of a negative, in severity.json and on the page.
SAID = "grey values: shown inverted; the file does not say whether air is dark or bright"


@pytest.fixture
def predicted(tmp_path: Path) -> tuple[pd.DataFrame, dict[str, str], Path]:
    """A film, its negative, and a picture that is no chest; their rows, reasons of those set aside, and results."""
    grey = film(3)[0]
    pictures = {"upright": grey, "negative": invert(grey), "sideways": np.tile(np.arange(90.0)[:, None], (1, 80))}
    series = {}
    for name, picture_xy in pictures.items():
        Image.fromarray(picture_xy.T.astype(np.uint16)).save(tmp_path / f"{name}.png")
        series[name] = make_radiograph_series(tmp_path / f"{name}.png", site="", patient=name)
    clinic = NewScanPipeline(NOTHING, MODEL, report=True)
    return *predict_series(dark_lung_segmenter(), series, tmp_path / "out", clinic), tmp_path / "out"


def test_a_negative_is_measured_as_the_radiograph_that_it_is_of(predicted):
    rows = predicted[0].set_index("case_id").drop(columns="seconds").dropna(axis=1)
    assert rows.loc["upright", "percent_involved"] > 10
    pd.testing.assert_series_equal(rows.loc["negative"], rows.loc["upright"], check_names=False)


def test_severity_json_and_page_say_that_a_negative_is_shown_inverted(predicted):
    out = predicted[2]
    for name in ("upright", "negative"):
        said = any(SAID in reason for reason in read_json_object(out / name / "severity.json", "")["reasons"])
        page = html.unescape((out / name / "page.html").read_text(encoding="utf-8"))
        assert (said, SAID in page) == ((name == "negative"),) * 2


def test_a_picture_that_may_be_a_negative_is_refused_with_a_remedy_and_leaves_nothing(predicted):
    _, refused, out = predicted
    assert set(refused) == {"sideways"}
    assert "not known whether this is a negative" in refused["sideways"]
    assert "give the DICOM file" in refused["sideways"]
    assert not (out / "sideways").exists()
