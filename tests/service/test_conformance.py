"""The conformance statement says what the node accepts and sends, and nothing else."""

import re
import ssl
from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, build_context
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]

from kicc_ml.dicom.results.segmentation import SERIES_NUMBER, PredictionSource
from kicc_ml.dicom.results.write import write_objects
from kicc_ml.service.conformance import make_statement
from kicc_ml.service.database import Database
from kicc_ml.service.dicom_node import DicomNode
from kicc_ml.service.intake import Folders, Intake
from kicc_ml.service.queue import StudyLimits, StudyQueue
from kicc_ml.service.settings import DicomSettings
from tests.support.ball_findings import find_balls
from tests.support.commands import ROOT
from tests.support.loopback_pacs import NODE, SENDER, find_free_port
from tests.support.phantom_files import write_series
from tests.support.phantoms import Grid, even_mm

#: Presentation contexts of one association (PS3.8 9.3.2.2).
MOST_CONTEXTS = 128


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs" / "dicom-conformance.md").read_text(encoding="utf-8")


def read_uids(page: str, heading: str) -> set[str]:
    """The UIDs of the table below a heading."""
    part = page.split(f"{heading}\n", 1)[1].split("\n#", 1)[0]
    return set(re.findall(r"\| (1\.2\.840\.10008\.[0-9.]+) \|", part))


def test_the_page_is_the_one_that_is_made_of_the_code(page: str):
    assert page == make_statement(), "python -m kicc_ml.service.conformance writes it anew"


def test_what_is_written_of_a_ct_is_what_the_page_says(page: str, tmp_path: Path):
    write_series(tmp_path / "scan", Grid(even_mm()))
    series, findings = find_balls(tmp_path / "scan")
    made = write_objects(PredictionSource(series, "ab" * 32, "0.1.0"), findings, tmp_path / "out")
    assert {path.stem for path in made} == SERIES_NUMBER.keys()
    for path in made:
        one = pydicom.dcmread(path)
        (row,) = re.findall(rf"\| `{path.name}` \| .*", page)
        assert f"| {one.SOPClassUID} | {one.SeriesNumber} | CT" in row
        assert one.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert read_uids(page, "## Storage as SCU") == {str(pydicom.dcmread(path).SOPClassUID) for path in made}


def list_accepted(port: int, contexts: list) -> set[tuple[str, str]]:
    """SOP class and transfer syntax of the contexts that the node accepts."""
    found = set()
    for first in range(0, len(contexts), MOST_CONTEXTS):
        sender = AE(ae_title=SENDER)
        sender.requested_contexts = contexts[first : first + MOST_CONTEXTS]
        association = sender.associate("127.0.0.1", port, ae_title=NODE)
        found |= {(str(one.abstract_syntax), str(one.transfer_syntax[0])) for one in association.accepted_contexts}
        association.release()
    return found


@pytest.mark.slow
def test_a_node_accepts_the_sop_classes_and_transfer_syntaxes_of_the_page_and_no_others(page: str, tmp_path: Path):
    folders = Folders(tmp_path / "node")
    folders.make()
    queue = StudyQueue(Database(folders.root / "node.sqlite"))
    settings = DicomSettings(NODE, port=find_free_port(), senders=[SENDER])
    explicit, others = "1.2.840.10008.1.2.1", ["1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.31"]  # find
    classes = [*(str(one.abstract_syntax) for one in AllStoragePresentationContexts), *others]
    with DicomNode(settings, Intake(queue, folders, StudyLimits(5, 5), 0)).running():
        of_classes = list_accepted(settings.port, [build_context(one, explicit) for one in classes])
        asked = sorted({*ALL_TRANSFER_SYNTAXES, *read_uids(page, "### Transfer syntaxes")})  # some are retired
        of_syntaxes = list_accepted(settings.port, [build_context(CTImageStorage, one) for one in asked])
    assert {one for one, _ in of_classes} == read_uids(page, "### SOP classes")
    assert {one for _, one in of_syntaxes} == read_uids(page, "### Transfer syntaxes")


def test_tls_is_as_new_as_the_page_says():
    assert ssl.create_default_context().minimum_version >= ssl.TLSVersion.TLSv1_2
    assert "TLS 1.2 or later" in make_statement()
