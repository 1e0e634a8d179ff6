"""A PACS sends forty studies to a node and finds in its archive what ``kicc-ml predict`` makes of them."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pydicom
import pytest
from typer.testing import CliRunner

from kicc_ml.apps.cli import app
from kicc_ml.clinic import loaded_runs
from kicc_ml.service.node import Node
from kicc_ml.service.settings import DicomSettings, PacsSettings, RetentionSettings, SiteSettings, StudySettings
from kicc_ml.service.web.rows import Worklist
from kicc_ml.service.worklist import read_studies
from tests.support.fake_node import running_node
from tests.support.loopback_pacs import NODE, TITLE, find_free_port, is_listening, wait_until
from tests.support.orthanc import Orthanc, running_orthanc
from tests.support.structured_reports import list_values
from tests.support.synthetic_hospital import (
    HospitalPredictor,
    SentStudy,
    load_hospital_runs,
    make_hospital,
    make_patient,
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cache_in_a_temporary_folder")]

QUIET_S = 15.0
#: What node, disk and network may take beside the quiet time and the prediction.
MOST_BESIDE_S = 10.0
LATE = "1.2.99"


@dataclass(frozen=True)
class Hospital:
    """What was sent, by Study Instance UID; the node; and the archive."""

    studies: dict[str, SentStudy]
    files: dict[str, list[Path]]
    node: Node
    archive: Orthanc


def write(folder: Path, images: list[pydicom.Dataset]) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [folder / f"{number}.dcm" for number in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        image.save_as(path, enforce_file_format=True)
    return paths


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    """All studies were sent over two associations at once, and each has come to its end."""
    folder, port, studies = tmp_path_factory.mktemp("hospital"), find_free_port(), make_hospital()
    files = {uid: write(folder / "sent" / uid, study.images) for uid, study in studies.items()}
    (folder / "archive").mkdir()
    with running_orthanc(folder / "archive", {"node": (NODE, port)}, TITLE) as archive:
        settings = SiteSettings(
            folder / "node",
            dicom=DicomSettings(NODE, port=port, senders=[TITLE]),
            study=StudySettings(quiet_s=QUIET_S),
            pacs=PacsSettings(TITLE, "127.0.0.1", archive.dicom_port, first_pause_s=0.5, longest_pause_s=2.0),
            retention=RetentionSettings(min_free_gib=0),
        )
        names = [archive.upload(paths)[0] for paths in files.values()]
        with running_node(settings, lambda: is_listening(port, TITLE), HospitalPredictor) as node:
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda half: archive.send("node", half), (names[::2], names[1::2])))
            wait_until(lambda: len(read_studies(node.queue)) == len(studies), 600)
            wait_until(lambda: all(entry.ended for entry in read_studies(node.queue)), 3600)
            yield Hospital(studies, files, node, archive)


def predict(source: Path, out: Path, *kinds: str) -> float:
    """Run ``kicc-ml predict`` for kinds of image, by the networks of the node; returns the seconds."""
    runs, began = load_hospital_runs(), time.perf_counter()
    for kind in kinds:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loaded_runs, "load_runs", lambda choice, kind=kind: runs[kind])
            words = ["predict", "-i", source, "-o", out / kind, "--run", "run", "--dicom"]
            result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code in (0, 3), result.output  # 3: some are set aside
    return time.perf_counter() - began


@pytest.fixture(scope="module")
def predicted(hospital: Hospital) -> Path:
    folder = hospital.node.folders.root.parent
    predict(folder / "sent", folder / "predicted", "CT", "CXR")
    return folder / "predicted"


def test_each_study_ends_in_the_right_state_and_those_set_aside_say_why(hospital: Hospital):
    entries = {entry.uid: entry for entry in read_studies(hospital.node.queue)}
    states = {uid: entries[uid].state for uid in hospital.studies}
    assert states == {uid: study.state for uid, study in hospital.studies.items()}, [
        (entry.uid, entry.reason) for entry in entries.values()
    ]
    for uid, study in hospital.studies.items():
        assert study.reason in entries[uid].reason
        assert (entries[uid].undelivered, entries[uid].instances) == (0, len(study.images))


def test_two_associations_brought_the_studies_at_once(hospital: Hospital):
    text = hospital.node.folders.audit_log.read_text()
    codes = [json.loads(line)["EventIdentification"]["EventID"]["csd-code"] for line in text.splitlines()]
    events = [{"110102": "begun", "110104": "ended"}[code] for code in codes if code in ("110102", "110104")]
    assert events.count("ended") == 2
    assert events.index("ended") > len(hospital.studies) // 2  # more studies than one of them brought


def test_results_are_in_the_archive_once_and_equal_to_those_of_predict(hospital: Hospital, predicted: Path):
    sent = {str(image.SOPInstanceUID) for study in hospital.studies.values() for image in study.images}
    client = hospital.archive.client()
    found = [hit["00080018"]["Value"][0] for hit in client.search_for_instances(limit=5000)]
    made = {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, predicted.rglob("dicom/*.dcm"))}
    assert len(made) == 16 * 5 + 19 * 2
    assert sorted(found) == sorted([*sent, *made])
    for uid, one in made.items():
        (hit,) = client.search_for_instances(
            search_filters={"StudyInstanceUID": one.StudyInstanceUID, "SOPInstanceUID": uid}
        )
        assert hit["00080060"]["Value"] == [one.Modality]
        there = client.retrieve_instance(one.StudyInstanceUID, one.SeriesInstanceUID, uid)
        if one.Modality != "OT":  # the picture has the case id in it, which is another at a node
            assert (there.get("PixelData"), there.get("FloatPixelData")) == (
                one.get("PixelData"),
                one.get("FloatPixelData"),
            )
        assert list_values(there) == list_values(one)


def test_the_worklist_has_what_predict_has_in_its_tables_the_worst_first(hospital: Hospital, predicted: Path):
    wanted = {}
    for kind, column in (("CT", "severity_score"), ("CXR", "geographic_extent")):
        for row in pd.read_csv(predicted / kind / "predictions.csv").to_dict("records"):
            report = pydicom.dcmread(predicted / kind / str(row["case_id"]) / "dicom" / "report.dcm")
            wanted[str(report.StudyInstanceUID)] = row[column]
    answer = Worklist(hospital.node.queue, False).search("", "")
    uids = {entry.study: entry.uid for entry in read_studies(hospital.node.queue)}
    shown = {uids[row["study"]]: row["results"][0]["score"] for row in answer["rows"] if row["results"]}
    assert shown == wanted
    assert len(set(wanted.values())) > 3
    ranks = [row["results"][0]["rank"] if row["results"] else -1 for row in answer["rows"]]
    assert ranks == sorted(ranks, reverse=True)
    assert (answer["states"]["done"], answer["states"]["refused"], answer["found"]) == (35, 5, 40)


def test_results_are_in_the_archive_soon_after_the_last_image(hospital: Hospital, predicted: Path):
    """After the quiet time and the time of predict, here and now, and a little."""
    folder = predicted.parent / "late"
    (name, *_) = hospital.archive.upload(write(folder / "sent" / LATE, make_patient(LATE, 5)))
    hospital.archive.send("node", [name])
    came = time.time()
    queue = hospital.node.queue
    wait_until(lambda: any(entry.uid == LATE and entry.ended for entry in read_studies(queue)), 600)
    (row,) = queue.database.read(
        "SELECT MAX(delivered) AS at FROM delivery JOIN study ON study.id = study WHERE uid = ?", (LATE,)
    )
    predict_s = predict(folder / "sent", folder / "predicted", "CT")
    print(f"{row['at'] - came:.1f} s after the last image; quiet time {QUIET_S} s, predict {predict_s:.1f} s")
    assert row["at"] - came <= QUIET_S + predict_s + MOST_BESIDE_S
