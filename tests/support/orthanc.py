"""A real DICOMweb service for tests: Debian's Orthanc on loopback, behind a password, with temporary storage."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient

USER, PASSWORD = "reader", "of the tests"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
#: It is up within a second on an idle machine.
READY_WITHIN_S = 30


@dataclass(frozen=True)
class Orthanc:
    """A running service; its DICOMweb address is ``url``. ``dicom_port`` is 0 where it knows no DICOM partners."""

    url: str
    dicom_port: int = 0

    def client(self) -> DICOMwebClient:
        session = requests.Session()
        session.auth = (USER, PASSWORD)
        return DICOMwebClient(self.url, session=session)

    def store(self, files: Iterable[Path]) -> None:
        """Push DICOM files by STOW-RS, one request each."""
        client = self.client()
        for file in files:
            answer = client.store_instances([pydicom.dcmread(file)])
            assert not answer.get("FailedSOPSequence"), f"{file} was refused"

    def upload(self, files: Iterable[Path]) -> list[str]:
        """Put DICOM files in, also damaged ones; returns the service's own name of the study of each."""
        address = self.url.replace("/dicom-web", "/instances")
        answers = [requests.post(address, file.read_bytes(), auth=(USER, PASSWORD), timeout=60) for file in files]
        assert {answer.status_code for answer in answers} == {200}
        return [answer.json()["ParentStudy"] for answer in answers]

    def send(self, partner: str, studies: Sequence[str]) -> None:
        """Send studies to a partner by C-STORE over one association; done when all of them are there."""
        address = self.url.replace("/dicom-web", f"/modalities/{partner}/store")
        body = {"Resources": list(studies), "Synchronous": True}
        answer = requests.post(address, json=body, auth=(USER, PASSWORD), timeout=1200)
        assert answer.status_code == 200, answer.text

    def check_it_holds(self, files: Iterable[Path]) -> None:
        """Each file is found by QIDO-RS in its study, and comes back by WADO-RS equal to what was written."""
        client = self.client()
        for file in files:
            made = pydicom.dcmread(file)
            (hit,) = client.search_for_instances(search_filters={"SOPInstanceUID": made.SOPInstanceUID})
            assert hit["0020000D"]["Value"] == [made.StudyInstanceUID]
            back = client.retrieve_instance(made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPInstanceUID)
            assert back == made


@contextmanager
def running_orthanc(
    folder: Path,
    partners: Mapping[str, tuple[str, int]] = MappingProxyType({}),
    title: str = "ORTHANC",
    **dicomweb: str,
) -> Iterator[Orthanc]:
    """Orthanc with its storage in ``folder``, killed at the end; ``dicomweb`` are settings of its plug-in.

    With ``partners`` (AE title and port on loopback by name) it has a DICOM port and the AE title ``title``.

    Skips the test where Orthanc or the plug-in is not installed.
    """
    binary = shutil.which("Orthanc")
    if not binary or not PLUGIN.is_file():
        pytest.skip("no Orthanc here: apt-get install orthanc orthanc-dicomweb")
    port, dicom_port = _free_port(), _free_port() if partners else 0
    modalities = {name: [called, "127.0.0.1", number] for name, (called, number) in partners.items()}
    dicom = {"DicomServerEnabled": bool(partners), "DicomPort": dicom_port, "DicomAet": title}
    process = _start(binary, folder, port, {**dicom, "DicomModalities": modalities}, dicomweb)
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{port}/system")
        yield Orthanc(f"http://127.0.0.1:{port}/dicom-web", dicom_port)
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _start(
    binary: str, folder: Path, port: int, dicom: Mapping[str, object], dicomweb: dict[str, str]
) -> subprocess.Popen:
    settings = {
        **{"StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "storage")},
        **{"HttpPort": port, "HttpBindAddresses": ["127.0.0.1"], "RemoteAccessAllowed": False},
        **{**dicom, "AuthenticationEnabled": True, "RegisteredUsers": {USER: PASSWORD}},
        **{"Plugins": [str(PLUGIN)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/", **dicomweb}},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        return subprocess.Popen([binary, str(folder / "orthanc.json")], stdout=log, stderr=log)


def _wait_until_ready(process: subprocess.Popen, url: str) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            requests.get(url, auth=(USER, PASSWORD), timeout=5).raise_for_status()
            return
        except requests.ConnectionError:
            time.sleep(0.05)
    raise RuntimeError(f"Orthanc did not start within {READY_WITHIN_S} s; its log lies beside its storage")
