"""Public sets on the command line: what is listed, what of a set lies in a folder, download through a client."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from kicc_ml.apps.configuration import CONFIGS
from kicc_ml.cohort.public.check_set import Checked, Counted, check_files
from kicc_ml.cohort.public.known_sets import KnownSet, Part, known_set, known_sets, shared_patients
from kicc_ml.core.errors import UserError
from tests.support.datasets_command import run

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"

#: How many studies of MosMedData lie in each folder.
MOSMED = {"CT-0": 254, "CT-1": 684, "CT-2": 125, "CT-3": 45, "CT-4": 2}


def lay_mosmed(root: Path, studies: dict[str, int] = MOSMED, masks: int = 50) -> Path:
    number = 0
    for folder, count in studies.items():
        (root / "COVID19_1110" / "studies" / folder).mkdir(parents=True)
        for _ in range(count):
            number += 1
            (root / "COVID19_1110" / "studies" / folder / f"study_{number:04}.nii.gz").write_bytes(b"content")
    (root / "COVID19_1110" / "masks").mkdir()
    for mask in range(masks):
        (root / "COVID19_1110" / "masks" / f"study_{255 + mask:04}_mask.nii.gz").write_bytes(b"content")
    (root / "COVID19_1110" / "dataset_registry.csv").write_text("study_id\n")
    return root


def test_every_set_is_listed_with_what_a_user_has_to_know():
    listed = json.loads(run("--json").stdout)
    assert set(listed) == set(known_sets()) >= {"aiforcovid", "nysbu", "stoic", "nccid", "covid_19_ar", "ricord1a"}
    assert set(listed) >= {"covid19_20", "mosmed", "covid19_ct_seg", "medseg"}
    for facts in listed.values():
        assert all(facts[key] for key in ("title", "task", "hospitals", "size", "licence", "terms", "get"))
    shown = run().stdout
    assert all(f"{name}: " in shown for name in listed)


def test_every_public_cohort_of_the_configuration_is_read_from_a_known_set():
    own = {"demo", "kicc19", "repository", "of_run", "nnunet", "msd", "pooled"}
    files = {path.stem for path in (CONFIGS / "cohort").glob("*.yaml")} - own
    assert files <= {name for known in known_sets().values() for name in known.cohorts}


def test_sets_that_share_patients_are_known_ones():
    assert {name for one in shared_patients() for name in one.sets} <= set(known_sets())
    assert json.loads(run("--json").stdout)["medseg"]["shares_patients_with"].keys() == {
        "covid19_ct_seg",
        "covid_ct_seg",
    }


def test_a_complete_folder_is_said_to_be(tmp_path: Path):
    result = run("check", "mosmed", lay_mosmed(tmp_path))
    assert result.exit_code == 0
    assert result.stdout.rstrip().replace("\n", "").endswith("is complete")


def test_of_a_partial_folder_what_is_missing_is_said_beside_the_published_counts(tmp_path: Path):
    result = run("check", "mosmed", lay_mosmed(tmp_path, {"CT-0": 254, "CT-1": 3}, masks=6), "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 3
    assert found["counts"]["studies CT-0"] == {"here": 254, "published": 254, "state": "complete"}
    assert found["counts"]["studies CT-1"] == {"here": 3, "published": 684, "state": "partial"}
    assert found["counts"]["studies CT-2"] == {"here": 0, "published": 125, "state": "missing"}
    assert found["counts"]["masks"] == {"here": 6, "published": 50, "state": "partial"}
    assert found["complete"] is False
    last = run("check", "mosmed", tmp_path).stdout.replace("\n", " ")
    assert "is not complete: studies CT-1, studies CT-2, studies CT-3, studies CT-4, masks" in last


def test_empty_files_and_pointers_of_git_lfs_are_not_complete(tmp_path: Path):
    studies = lay_mosmed(tmp_path) / "COVID19_1110" / "studies" / "CT-4"
    first, second = sorted(studies.iterdir())
    first.write_bytes(b"")
    second.write_text(POINTER)
    result = run("check", "mosmed", tmp_path, "--json")
    empty, pointer = json.loads(result.stdout)["faults"]
    assert result.exit_code == 3
    assert empty.startswith("1 empty file, for example COVID19_1110/studies/CT-4/study_1109.nii.gz")
    assert "git lfs pull" in pointer


def test_of_a_wrong_folder_it_is_said_what_it_may_be(tmp_path: Path):
    lay_mosmed(tmp_path, {"CT-0": 1}, masks=0)
    with pytest.raises(UserError, match=r"holds nothing of medseg \(scans, .*\); it looks like mosmed"):
        check_files(known_set("medseg"), tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="kicc-ml datasets says how to get medseg"):
        check_files(known_set("medseg"), tmp_path / "empty")
    with pytest.raises(UserError, match="is not a folder"):
        check_files(known_set("medseg"), tmp_path / "nothing")


def test_a_mistyped_name_is_told_what_was_meant():
    with pytest.raises(UserError, match="did you mean mosmed"):
        known_set("mosmedd")


@pytest.mark.parametrize(
    "layout",
    [
        "manifest-1608266677008/MIDRC-RICORD-1A/{patient}/11-20-2008-NA-NA-25678/4.000000-NA-25679/1-001.dcm",
        "midrc_ricord_1a/{patient}/1.2.3/CT_1.2.3.4/0a1b.dcm",
        "{patient}/1.2.3/1.2.3.4/1.dcm",
    ],
)
def test_patients_and_hospitals_are_counted_in_trees_of_tcia_idc_and_our_own(tmp_path: Path, layout: str):
    for patient in ("MIDRC-RICORD-1A-419639-000082", "MIDRC-RICORD-1A-SITE2-000001", "MIDRC-RICORD-1A-SITE2-000002"):
        path = tmp_path / layout.format(patient=patient)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"content")
    found = {one.what: one.found for one in check_files(known_set("ricord1a"), tmp_path).counts}
    assert found == {"annotations": 0, "patients": 3, "hospitals": 2, "slices": 3}


#: For each set a few paths as published, and how many of each part they are.
PATHS = {
    "aiforcovid": (["AIforCOVID.xlsx", "imgs/P_1.dcm", "AIforCOVID/TrainSet/TrainSet/P_1.png"], [1, 2]),
    "nysbu": (
        [
            "deidentified_overlap_tcia.csv.cleaned.csv_20210806.csv",
            "COVID-19-NY-SBU/A917122/12-1-1900-NA-1/1-NA-2/1-1.dcm",
        ],
        [1, 1],
    ),
    "stoic": (["stoic2021-training/data/mha/12.mha", "stoic2021-training/metadata/reference.csv"], [1, 1]),
    "nccid": (
        ["training/ct/Covid1/a.dcm", "training/xray-metadata/x/a.json", "training/data/Covid1/data_2020-09-01.json"],
        [1, 1],
    ),
    "covid_19_ar": (["COVID_19_AR_ClinicalCorrelates_July202020.xlsx", "m/COVID-19-AR-16406488/1/2/1-1.dcm"], [1, 1]),
    "covid19_20": (
        [
            "COVID-19-20_v2/Train/volume-covid19-A-0003_ct.nii.gz",
            "COVID-19-20_v2/Train/volume-covid19-A-0003_seg.nii.gz",
            "COVID-19-20_v2/Validation/volume-covid19-A-0001_ct.nii.gz",
        ],
        [1, 1, 1],
    ),
    "covid19_ct_seg": (
        [
            "COVID-19-CT-Seg_20cases/coronacases_001.nii.gz",
            "COVID-19-CT-Seg_20cases/radiopaedia_10_85902_1.nii.gz",
            "ct_scans/radiopaedia_org_covid-19-pneumonia-10_85902_3-dcm.nii",
            "Lung_Mask/coronacases_001.nii.gz",
            "Infection_Mask/coronacases_001.nii.gz",
            "Lung_and_Infection_Mask/coronacases_001.nii.gz",
        ],
        [1, 2, 1, 1],
    ),
    "medseg": (["rp_im/1.nii.gz", "rp_msk/1.nii.gz", "rp_lung_msk/1.nii.gz"], [1, 1, 1]),
}


@pytest.mark.parametrize("name", PATHS)
def test_published_paths_are_counted_under_their_part(tmp_path: Path, name: str):
    paths, expected = PATHS[name]
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"content")
    assert [one.found for one in check_files(known_set(name), tmp_path).counts] == expected


@pytest.mark.parametrize(
    ("found", "published", "state"),
    [
        (9, 9, "complete"),
        (0, 9, "missing"),
        (8, 9, "partial"),
        (10, 9, "more"),
        (5, None, "unknown"),
        (0, None, "missing"),
        (820, {"one": 820, "all": 1586}, "complete"),
        (900, {"one": 820, "all": 1586}, "partial"),
    ],
)
def test_a_count_is_judged_by_what_was_published(found: int, published: Any, state: str):
    assert Counted("scans", found, published).state == state


def test_a_table_that_its_cohort_refuses_is_a_fault_and_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    known = KnownSet(
        "x", "X", *[""] * 5, ("",), (Part("tables", "csv$", 1),), cohorts=("catanzaro",), counts={"death": 1}
    )
    monkeypatch.setattr("kicc_ml.apps.cli_datasets.known_set", lambda name: known)
    (tmp_path / "catanzaro_526.csv").write_text("a\n")
    result = run("check", "x", tmp_path, "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["faults"][0].startswith("cohort=catanzaro cannot be read: ")


real_data = pytest.mark.skipif("KICC_DATA" not in os.environ, reason="KICC_DATA names no folder of public data")


@real_data
def test_the_four_hospitals_of_aiforcovid_stand_beside_the_six_published():
    result = run("check", "aiforcovid", Path(os.environ["KICC_DATA"]) / "aiforcovid", "--json")
    counts = {what: (one["here"], one["state"]) for what, one in json.loads(result.stdout)["counts"].items()}
    assert result.exit_code == 3
    assert counts["radiographs"] == (8, "partial")
    assert counts["hospitals"] == (4, "partial")
    assert (counts["cases"][0], counts["death"][0]) == (514, 102)


def test_checked_counts_of_a_release_are_shown_with_its_name():
    assert Counted("tables", 1, {"one release": 1, "all": 3}).published_in_words == "1 (one release), 3 (all)"
    assert Checked((Counted("tables", 4, 3),), ()).is_complete
