"""The cohort of a run is read again by what selects cases, from where its judge says it lies; nothing is written."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from kicc_ml.apps.configuration import CONFIGS
from kicc_ml.cohort.flow import Cohort, Flow
from kicc_ml.core.errors import UserError
from kicc_ml.core.files import write_json
from kicc_ml.core.pseudonym import compute_key_fingerprint, load_repository_key
from kicc_ml.core.user_folders import get_keys_folder
from kicc_ml.runs.cohort_readers import PLACES, READERS, make_cohort_record, make_key_setting, remove_places
from kicc_ml.runs.run_cohort import RunCohort, note_cases, note_places, read_note
from kicc_ml.runs.selection import FITTING
from kicc_ml.runs.settings import parse_settings
from tests.support.finished_run import hospital
from tests.support.tree import digests

REPOSITORY = "kicc_ml.cohort.repository.repository"
SYNTHETIC = "kicc_ml.cohort.public.synthetic.synthetic"
HU_CT = "kicc_ml.cohort.public.hu_anchored.hu_ct"
#: Settings of a cohort that make a data set, and select nothing of it.
MAKING = {"preset", "seed", "patients", "sites", "_target_"}


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "user" / name))
    monkeypatch.delenv("KICC_DATA", raising=False)


def read(cohort: dict[str, Any], run: Path, place: RunCohort | None = None) -> list:
    return (place or RunCohort()).read(parse_settings({"cohort": cohort}, run / "seoul" / "config.yaml"), run)


@pytest.mark.parametrize("target", [REPOSITORY, SYNTHETIC, HU_CT])
def test_the_root_that_a_received_run_states_is_not_read(tmp_path: Path, target: str):
    victim = hospital(tmp_path / "victim")
    with pytest.raises(UserError, match=r"was not trained here by you.*cohort\.root=DIR"):
        read({"_target_": target, "root": str(victim), "folder": str(victim)}, tmp_path / "run")


def test_of_a_received_run_only_what_selects_cases_counts_and_nothing_is_written(tmp_path: Path):
    own, thesis = hospital(tmp_path / "own"), tmp_path / "docs" / "thesis.odt"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    before = digests(tmp_path)
    cohort = {
        "_target_": SYNTHETIC,
        "root": str(tmp_path / "planted"),
        "preset": "demo",
        "seed": 1,
        "index_cache": str(thesis),
        "patients_to_write": str(tmp_path / "planted"),
        "ct_window_days": None,
        "person_conflict": "drop",
    }
    assert [case.endpoints["icu"] for case in read(cohort, tmp_path / "run", RunCohort(own))] == [1, 0]
    after = digests(tmp_path)
    assert before.items() <= after.items()
    assert {Path(path).parts[0] for path in set(after) - set(before)} <= {"user"}
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gaps", "${oc.env:KICC_DICOMWEB_AUTHORIZATION}"),
        ("person_conflict", {"_target_": "os.system", "command": "true"}),
        ("ct_window_days", [0, "7"]),
        ("ct_window_days", [0, 1, 2]),
        ("guard_endpoints", "icu"),
        ("ct_ranking", [1]),
        ("serial", None),
        ("composites", {"bad": "icu"}),
        ("mask_labels", {"1": "lesion"}),
    ],
)
def test_a_selection_that_is_none_is_one_sentence_and_nothing_in_it_is_resolved(
    tmp_path: Path, key: str, value: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("KICC_DICOMWEB_AUTHORIZATION", "Bearer SECRET")
    with pytest.raises(UserError, match=rf"config\.yaml: cohort\.{key}=") as refused:
        read({"_target_": REPOSITORY, key: value}, tmp_path / "run", RunCohort(hospital(tmp_path / "own")))
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize("cohort", [None, [], "text", {}, {"_target_": "os.system"}, {"_target_": [REPOSITORY]}])
def test_settings_without_a_cohort_of_this_project_are_one_sentence(tmp_path: Path, cohort: Any):
    with pytest.raises(UserError, match=r"config\.yaml.*cohort"):
        read(cohort, tmp_path / "run", RunCohort(hospital(tmp_path / "own")))


def test_a_run_that_this_user_trained_here_is_found_by_its_folder_however_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    hospital(tmp_path / "own")
    (tmp_path / "runs").mkdir()
    note_places(Path("runs/lesion_ct"), {"_target_": REPOSITORY, "root": "own", "gaps": "refuse"})
    cohort = {"_target_": REPOSITORY}
    monkeypatch.chdir(tmp_path / "runs")
    assert len(read(cohort, tmp_path / "runs" / "lesion_ct")) == 2
    assert len(read(cohort, Path("lesion_ct"))) == 2
    with pytest.raises(UserError, match="was not trained here"):
        read(cohort, tmp_path / "runs" / "moved")


def test_the_note_is_the_users_alone_and_holds_places_only(tmp_path: Path):
    note_places(tmp_path / "run", {"_target_": REPOSITORY, "root": "/data/한빛", "gaps": "refuse", "folder": None})
    (note,) = (path for path in (tmp_path / "user").rglob("*.json"))
    assert note.stat().st_mode & 0o077 == 0
    assert read_note(tmp_path / "run") == {"root": "/data/한빛"}


def test_a_home_that_cannot_be_written_stops_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    note_places(tmp_path / "run", {"root": "/data"})
    assert read_note(tmp_path / "run") == {}


def test_cases_that_are_not_as_the_run_was_trained_on_them_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    own, run = hospital(tmp_path / "own"), tmp_path / "run"
    cohort = {"_target_": REPOSITORY, "root": str(own)}
    write_json(run / "cohort.json", make_cohort_record(cohort, read(cohort, run, RunCohort(own))))
    read(cohort, run, RunCohort(own))
    assert caplog.messages == [message for message in caplog.messages if "usable image" in message]
    table = own / "clinical.csv"
    table.write_text(table.read_text().replace("seoul,1,60,M,1", "seoul,1,60,M,0"))
    assert [case.endpoints["icu"] for case in read(cohort, run, RunCohort(own))] == [0, 0]
    (said,) = [message for message in caplog.messages if "trained on another cohort" in message]
    assert re.search(r"1 of 2 cases differ: seoul_\w+ \(endpoints\); they are judged as the cohort is now", said)


def test_a_report_right_after_the_training_takes_the_cases_that_the_training_read(tmp_path: Path):
    own, run = hospital(tmp_path / "own"), tmp_path / "run"
    cohort = {"_target_": REPOSITORY, "root": str(own)}
    cases = Cohort(read(cohort, run, RunCohort(own)), Flow())
    write_json(run / "cohort.json", make_cohort_record(cohort, cases))
    note_cases(run, cohort, cases)
    (own / "clinical.csv").unlink()
    assert [case.endpoints["icu"] for case in read(cohort, run, RunCohort(own, as_trained=True))] == [1, 0]
    with pytest.raises(UserError, match=r"clinical\.csv"):
        read(cohort, run, RunCohort(own))


def test_what_the_user_names_wins_over_the_note(tmp_path: Path):
    note_places(tmp_path / "run", {"root": str(tmp_path / "gone"), "index_cache": str(tmp_path / "cache.parquet")})
    place = RunCohort(hospital(tmp_path / "moved"))
    assert len(read({"_target_": REPOSITORY}, tmp_path / "run", place)) == 2
    assert not (tmp_path / "cache.parquet").exists()  # that of the former place


def test_copies_in_hu_are_read_again_and_never_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made: list[object] = []
    monkeypatch.setattr("kicc_ml.cohort.public.hu_anchored.synthesize", lambda *given, **_: made.append(given))
    monkeypatch.setattr("kicc_ml.cohort.public.hu_anchored.covid_ct_seg", lambda root: [])
    with pytest.raises(UserError, match="synthetic"):
        read({"_target_": HU_CT, "seed": 1}, tmp_path / "run", RunCohort(tmp_path, tmp_path / "hu"))
    assert made == []
    assert not (tmp_path / "hu").exists()


class TestKey:
    """Case ids are pseudonyms: under another key a run has none of the cohort's cases."""

    def test_a_run_says_by_which_key_its_cases_are_named_and_is_read_under_that_key_alone(self, tmp_path: Path):
        own = hospital(tmp_path / "own")
        kept = make_key_setting({"_target_": REPOSITORY, "root": str(own)})
        assert kept == {"key_fingerprint": compute_key_fingerprint(load_repository_key(own))}
        cohort = {"_target_": REPOSITORY, **kept}
        assert len(read(cohort, tmp_path / "run", RunCohort(own))) == 2
        copied = hospital(tmp_path / "copied")  # a key of its own is made for it
        (kept_file,) = (path for path in get_keys_folder().iterdir() if path.read_bytes() == load_repository_key(own))
        with pytest.raises(UserError) as refused:
            read(cohort, tmp_path / "run", RunCohort(copied))
        said = str(refused.value)
        for part in (
            str(tmp_path / "run"),
            kept["key_fingerprint"],
            f"lay it as {copied / '.kicc-key'}",
            str(kept_file),
        ):
            assert part in said
        shutil.copy(kept_file, copied / ".kicc-key")
        assert len(read(cohort, tmp_path / "run", RunCohort(copied))) == 2

    def test_who_has_not_the_key_is_told_to_ask_for_it(self, tmp_path: Path):
        with pytest.raises(
            UserError, match=r"fingerprint 0123456789ab is needed.*ask for it where the run was trained"
        ):
            read(
                {"_target_": REPOSITORY, "key_fingerprint": "0123456789ab"},
                tmp_path / "run",
                RunCohort(hospital(tmp_path / "own")),
            )

    @pytest.mark.parametrize("stated", [None, "", 7, ["0123456789ab"], "\x1b[31m" * 100, "0123456789ab\n"])
    def test_what_is_no_fingerprint_refuses_nothing_and_is_not_shown(self, tmp_path: Path, stated: Any):
        cohort = {"_target_": REPOSITORY, "key_fingerprint": stated}
        assert len(read(cohort, tmp_path / "run", RunCohort(hospital(tmp_path / "own")))) == 2

    def test_public_cohorts_have_no_key(self):
        assert make_key_setting({"_target_": "kicc_ml.cohort.public.clinical_tables.wuhan", "root": "/data"}) == {}


def test_public_data_is_found_where_this_user_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KICC_DATA", str(tmp_path / "public"))
    with pytest.raises(UserError, match=str(tmp_path / "public")):
        read({"_target_": "kicc_ml.cohort.public.clinical_tables.wuhan"}, tmp_path / "run")


def test_a_run_folder_holds_no_place_of_this_machine():
    settings = {
        "_target_": REPOSITORY,
        "root": "/home/kim",
        "index_cache": "/home/kim/x",
        "folder": "/y",
        "gaps": "refuse",
    }
    assert remove_places(settings) == {"_target_": REPOSITORY, "gaps": "refuse"}


@pytest.mark.parametrize("path", sorted((CONFIGS / "cohort").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_setting_of_every_cohort_is_a_place_or_selects_or_makes_data(path: Path):
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    if settings["_target_"].endswith("RunCohort"):
        return
    reader = READERS[settings["_target_"]]
    assert set(settings) - MAKING <= {*PLACES, *reader.settings}
    assert set(reader.settings) <= set(FITTING)
