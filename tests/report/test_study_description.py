"""A report finds images that two persons share, probes for the hospital, and describes the flow of a run."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from kicc_ml.core.types import Case
from kicc_ml.dicom.series.image_files import make_radiograph_series
from kicc_ml.report.study_description import check_leakage, compute_gap, describe_environment, read_flows
from kicc_ml.runs.folder import CONFIG, FLOW, PREDICTIONS

SITES = ("seoul", "busan")


def write_radiograph(folder: Path, site: str, number: int, marked: bool = False) -> Case:
    """Noise with structure a thumbnail can see, and a bright spine; ``marked`` has the plate of Busan in a corner."""
    generator = np.random.default_rng([number, ord(site[0])])
    grey = np.kron(generator.integers(60, 200, (16, 16)), np.ones((8, 8))).astype(np.uint8)
    grey[38:115, 56:72] = 230  # it shows that the picture is no negative
    if marked and site == "busan":
        grey[:32, :32] = 255
    path = folder / f"{site}_{number}.png"
    Image.fromarray(grey).save(path)
    name = f"{site}_{number}"
    return Case(name, site, name, cxr=make_radiograph_series(path, site=site, patient=name))


def test_a_copy_saved_with_losses_for_another_person_is_found(tmp_path: Path):
    cases = [write_radiograph(tmp_path, site, number) for site in SITES for number in range(6)]
    copy = tmp_path / "copy.jpg"
    Image.open(cases[0].cxr.files[0]).save(copy, quality=60)  # type: ignore[union-attr]
    cases.append(Case("other", "busan", "other", cxr=make_radiograph_series(copy, site="busan", patient="other")))
    (found,) = check_leakage(cases)["duplicates"]
    assert (found["kind"], found["one"], found["other"]) == ("near", "seoul_0", "other")


@pytest.mark.parametrize("marked", [True, False])
def test_a_hospital_is_told_by_its_plate_alone(tmp_path: Path, marked: bool):
    cases = [write_radiograph(tmp_path, site, number, marked) for site in SITES for number in range(20)]
    found = check_leakage(cases)
    assert [(probe["features"], probe["flagged"]) for probe in found["site_probe"]] == [("radiograph", marked)]
    assert found["pictures"] == {"radiograph": 40}


def test_cases_without_images_or_features_are_no_error():
    assert check_leakage([Case("a", "seoul", "a")]) == {"site_probe": [], "duplicates": [], "pictures": {}}


def test_the_flow_of_a_run_knows_what_each_fold_held_out(tmp_path: Path):
    (tmp_path / "run" / "seoul").mkdir(parents=True)
    (tmp_path / "run" / FLOW).write_text(json.dumps({"rows": 3, "cases": 2, "counts": {}}))
    fold = tmp_path / "run" / "seoul"
    pd.DataFrame({"case_id": ["a", "a", "b"], "model": ["x", "y", "x"]}).to_csv(fold / PREDICTIONS, index=False)
    (fold / CONFIG).write_text(yaml.safe_dump({}))
    (one,) = read_flows([fold])
    assert (one["name"], one["flow"]["cases"], one["held_out"]) == ("run", 2, {"seoul": 2})


def test_the_gap_needs_a_run_of_each_division(tmp_path: Path):
    table = pd.DataFrame({"case_id": ["a", "b"], "endpoint": "icu", "model": "network", "label": [0.0, 1.0]})
    table = table.assign(site="seoul", probability=[0.1, 0.9])
    runs = {tmp_path / "one": table, tmp_path / "other": table}
    assert compute_gap(dict.fromkeys(runs, "leave_one_site_out"), runs) == []
    both = dict(zip(runs, ("leave_one_site_out", "patient_kfold"), strict=True))
    assert {row["metric"] for row in compute_gap(both, runs)} == {"auroc", "auroc_pooled"}


def test_the_environment_names_what_a_rerun_needs():
    assert {"kicc_ml", "python", "torch", "processor"} <= set(describe_environment())
    assert all(describe_environment().values())
