"""A report shows the worst cases, with pictures of the images from which they were predicted."""

import io
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from kicc_ml.core.types import Case
from kicc_ml.dicom.series.image_files import make_nifti_series, make_radiograph_series
from kicc_ml.report.worst_cases import read_modalities, show_predicted_cases, show_segmented_cases
from tests.support.finished_run import evaluate, outcome_run

#: Greys of a JPEG and of a window are a few levels off.
GREY_LEVELS = 6


def write_radiograph(folder: Path, number: int) -> Case:
    """A patient whose radiograph is white over as many of its twenty columns as his number says."""
    grey = np.zeros((40, 200), np.uint8)
    grey[:, : 10 * (number + 1)] = 255
    path = folder / f"c{number}.png"
    Image.fromarray(grey).save(path)
    return Case(
        f"c{number}", "seoul", f"p{number}", cxr=make_radiograph_series(path, site="seoul", patient=str(number))
    )


@pytest.fixture
def cases(tmp_path: Path) -> dict[str, Case]:
    return {case.case_id: case for case in (write_radiograph(tmp_path, number) for number in range(12))}


def make_predictions(labels: list[int], risks: list[float]) -> pd.DataFrame:
    """By the network, and by a clinical model that gives everybody 20 %; in no order."""
    ids = [f"c{number}" for number in range(len(labels))]
    rows = pd.DataFrame({"case_id": ids, "site": "seoul", "endpoint": "death", "label": np.array(labels, float)})
    network, clinical = rows.assign(model="network", probability=risks), rows.assign(model="clinical", probability=0.2)
    return pd.concat([clinical, network]).sample(frac=1, random_state=0)


#: Three died; c1 was the least expected, then c7. Of those who lived c3 seemed the worst, then c9.
LABELS = [0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0]
RISKS = [0.10, 0.02, 0.11, 0.90, 0.12, 0.99, 0.13, 0.04, 0.14, 0.80, 0.15, 0.16]


def count_white_columns(jpeg: bytes) -> int:
    """Whose film it is: how many twentieths of its width are white, in the middle of the picture."""
    picture = np.asarray(Image.open(io.BytesIO(jpeg)).convert("L"))
    return round(20 * (picture[picture.shape[0] // 2] > 255 - GREY_LEVELS).mean())


def test_missed_events_false_alarms_and_the_median_case_show_their_own_radiograph(cases: dict[str, Case]):
    shown = show_predicted_cases(make_predictions(LABELS, RISKS), cases, ["CXR"])
    numbers = [1, 7, 3, 9, 8]  # errors in order: .98 .96 .90 .80 .16 .15, and .14 is the seventh of twelve
    assert [one.caption.split(",")[0] for one in shown] == [f"c{number}" for number in numbers]
    assert [count_white_columns(jpeg) for one in shown for jpeg in one.jpegs] == [number + 1 for number in numbers]
    assert ["median" in one.caption for one in shown] == [False] * 4 + [True]
    assert shown[0].caption == "c1, seoul: had the event; predicted risk: network 2.0 %, clinical 20.0 %"
    assert "c3, seoul: did not have the event; predicted risk: network 90.0 %" in shown[2].caption


@pytest.mark.parametrize("name", ["median", "label", "site", "error", "case_id"])
def test_a_model_from_outside_may_be_called_like_a_column(cases: dict[str, Case], name: str):
    rows = make_predictions(LABELS, RISKS).query("model == 'network'").assign(model=name)
    caption = show_predicted_cases(rows, cases, ["CXR"])[0].caption
    assert caption == f"c1, seoul: had the event; predicted risk: {name.replace('_', ' ')} 2.0 %"


def test_at_most_five_of_an_endpoint_are_shown_and_nobody_twice(cases: dict[str, Case]):
    for count in range(1, 13):
        shown = show_predicted_cases(make_predictions(LABELS[:count], RISKS[:count]), cases, ["CXR"])
        names = [one.caption.split(",")[0] for one in shown]
        assert 1 <= len(names) == len(set(names)) <= 5


def test_an_image_that_cannot_be_read_is_said_so_and_the_others_are_shown(cases: dict[str, Case]):
    path = cases["c1"].cxr.files[0]  # type: ignore[union-attr]
    path.write_bytes(path.read_bytes()[:-40])
    shown = show_predicted_cases(make_predictions(LABELS, RISKS), cases, ["CXR"])
    assert (shown[0].jpegs, len(shown[1].jpegs)) == ((), 1)
    assert "its radiograph cannot be shown" in shown[0].caption
    assert "c1.png" in shown[0].caption
    assert str(path.parent) not in shown[0].caption  # folders may name patients


@pytest.mark.parametrize(
    ("code", "said"), [("burned_in", "text is burned into the picture"), ("text_unstated", "a secondary capture")]
)
def test_a_film_with_text_burned_in_is_not_shown_since_it_may_be_a_name(cases: dict[str, Case], code: str, said: str):
    cases["c1"] = replace(cases["c1"], cxr=replace(cases["c1"].cxr, reasons=(code,)))
    shown = show_predicted_cases(make_predictions(LABELS, RISKS), cases, ["CXR"])
    assert [len(one.jpegs) for one in shown] == [0, 1, 1, 1, 1]
    assert f"its radiograph is not shown: {said}" in shown[0].caption


def test_ct_and_radiograph_are_shown_only_if_the_network_saw_them(tmp_path: Path, cases: dict[str, Case]):
    nib.save(nib.Nifti1Image(np.zeros((16, 16, 8), np.int16), np.eye(4)), tmp_path / "ct.nii.gz")
    ct = make_nifti_series(tmp_path / "ct.nii.gz", site="seoul", patient="1", units="hu")
    both = {"c1": Case("c1", "seoul", "p1", ct=ct, cxr=cases["c1"].cxr), "c2": Case("c2", "seoul", "p2")}
    rows = make_predictions([1, 0], [0.1, 0.0]).query("model == 'network'").replace({"c1": "c2", "c0": "c1"})
    assert [len(one.jpegs) for one in show_predicted_cases(rows, both, ["CT", "CXR"])] == [2, 0]
    assert [len(one.jpegs) for one in show_predicted_cases(rows, both, ["CT"])] == [1, 0]
    assert "without an image" in show_predicted_cases(rows, both, ["CT"])[1].caption
    assert show_predicted_cases(rows, both, []) == []
    both["c1"] = replace(both["c1"], further=(ct, ct))
    captions = [show_predicted_cases(rows, both, kinds)[0].caption for kinds in (["CT"], ["CXR"])]
    assert ["2 further images" in caption for caption in captions] == [True, False]


def test_the_images_of_a_network_are_those_its_settings_show_it(tmp_path: Path):
    data = {"canonical_ct": None, "canonical_cxr": {"size": 128}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": data}))
    assert read_modalities(tmp_path) == ["CXR"]


def test_the_report_of_an_outcome_run_shows_the_largest_error_or_says_why_not(tmp_path: Path):
    run = outcome_run(tmp_path)
    for config in run.glob("*/config.yaml"):
        settings = yaml.safe_load(config.read_text()) | {"data": {"canonical_cxr": {"size": 128}}}
        config.write_text(yaml.safe_dump(settings))
    table = run / "busan" / "predictions.csv"
    rows = pd.read_csv(table)
    wrong = rows["case_id"][3]  # label 1
    rows.loc[rows["case_id"] == wrong, "probability"] = 0.001
    rows.to_csv(table, index=False)
    text = evaluate(run).read_text(encoding="utf-8")
    assert text.index(f"{wrong}, busan: had the event; predicted risk: network 0.1 %") > text.index('id="worst"')
    assert "without an image" in text


def test_the_lowest_dice_and_the_median_are_shown_and_a_lost_picture_is_said_so():
    rows = pd.DataFrame({"case_id": [f"c{n}" for n in range(13)], "site": "seoul", "lesion_dice": np.arange(13) / 13})

    def picture(case_id: str) -> list[Image.Image]:
        if case_id == "c2":
            raise FileNotFoundError("c2.nii.gz")
        return [Image.new("L", (10 * int(case_id[1:]) + 10, 10))]

    shown = show_segmented_cases(rows.sample(frac=1, random_state=0), picture, {})
    widths = [[Image.open(io.BytesIO(jpeg)).width for jpeg in one.jpegs] for one in shown]
    assert widths == [[10], [20], [], [40], [50], [70]]
    assert "cannot be shown: FileNotFoundError: c2.nii.gz" in shown[2].caption
    assert "median" in shown[-1].caption


@pytest.mark.parametrize("modality", ["CT", "CXR"])
@pytest.mark.parametrize("code", ["burned_in", "text_unstated"])
def test_a_segmented_image_with_text_in_it_is_not_shown(cases: dict[str, Case], modality: str, code: str):
    asked = []

    def picture(case_id: str) -> list[Image.Image]:
        asked.append(case_id)
        return [Image.new("L", (10, 10))]

    film_of_c1 = cases["c1"].cxr
    assert film_of_c1 is not None
    named = replace(film_of_c1, modality=modality, reasons=(code,))
    cases["c1"] = replace(cases["c1"], ct=named if modality == "CT" else None, cxr=named if modality == "CXR" else None)
    ids = ["c0", "c1", "c2"]
    rows = pd.DataFrame({"case_id": ids, "site": "seoul", "lesion_dice": [0.9, 0.1, 0.5], "modality": modality})
    shown = {one.caption.split(",")[0]: one for one in show_segmented_cases(rows, picture, cases)}
    assert (shown["c1"].jpegs, "c1" in asked) == ((), False)
    assert "not shown: " in shown["c1"].caption
    assert "burned into the picture" in shown["c1"].caption
    assert len(shown["c2"].jpegs) == 1
