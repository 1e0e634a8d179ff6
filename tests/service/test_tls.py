"""With certificates the node speaks to nobody else, and a key that others can read is not used."""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from kicc_ml.core.errors import UserError
from kicc_ml.service.node import open_node
from kicc_ml.service.settings import DicomSettings, PacsSettings, RetentionSettings, SiteSettings, StudySettings
from kicc_ml.service.tls import make_client_tls, make_server_tls
from kicc_ml.service.worklist import read_studies
from tests.support.certificates import Certificate, make_certificate
from tests.support.fake_node import list_result_uids, make_study, running_node
from tests.support.loopback_pacs import NODE, SENDER, TITLE, LoopbackPacs, connect, find_free_port, send, wait_until


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Certificate]:
    folder = tmp_path_factory.mktemp("certificates")
    return {name: make_certificate(folder, name) for name in ("node", "scanner", "pacs", "stranger")}


def make_settings(folder: Path, dicom: DicomSettings, pacs_port: int) -> SiteSettings:
    return SiteSettings(
        folder / "node",
        dicom=replace(dicom, title=NODE, port=find_free_port(), senders=[SENDER]),
        study=StudySettings(quiet_s=0.2),
        pacs=PacsSettings(TITLE, "127.0.0.1", pacs_port, tls=True, first_pause_s=0.1, longest_pause_s=0.2),
        retention=RetentionSettings(min_free_gib=0),
    )


def test_a_study_comes_by_tls_and_its_results_go_by_tls_and_strangers_are_refused_and_noted(
    tmp_path: Path, certificates: dict[str, Certificate]
):
    own, scanner, archive, stranger = certificates.values()
    study, pacs = make_study(1), LoopbackPacs(find_free_port(), tls=stranger.as_server(own))
    settings = make_settings(tmp_path, own.trusting(scanner, archive), pacs.port)
    port = settings.dicom.port
    with running_node(settings, lambda: connect(port, tls=scanner.as_client(own)).is_established) as node:
        assert not connect(port).is_established
        assert not connect(port, tls=stranger.as_client(own)).is_established
        assert not connect(port, tls=scanner.as_client(stranger)).is_established  # the scanner asks who it speaks to
        with pacs.running():  # one that is not the archive
            assert send(port, *study, tls=scanner.as_client(own)) == [0, 0]
            wait_until(lambda: [entry.delivery_error for entry in read_studies(node.queue) if entry.delivery_error])
        with replace(pacs, tls=archive.as_server(own)).running() as found:
            wait_until(lambda: read_studies(node.queue)[0].state == "done")
            assert found.stored == dict.fromkeys(list_result_uids(study), 1)
        assert "TLS failed" in node.folders.audit_log.read_text()


def open_to_readers(pair: Certificate) -> None:
    pair.key.chmod(0o644)


def open_to_writers(pair: Certificate) -> None:
    pair.key.chmod(0o622)


def remove_key(pair: Certificate) -> None:
    pair.key.unlink()


def exchange(pair: Certificate) -> None:
    pair.key.write_bytes(make_certificate(pair.path.parent, "other").key.read_bytes())


def damage(pair: Certificate) -> None:
    pair.path.write_text("no certificate")


def encrypt(pair: Certificate) -> None:
    words = ["openssl", "pkey", "-aes256", "-passout", "pass:secret", "-in", str(pair.key), "-out", f"{pair.key}.new"]
    subprocess.run(words, check=True, capture_output=True)
    Path(f"{pair.key}.new").replace(pair.key)
    pair.key.chmod(0o600)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (open_to_readers, r"node\.key can be read by other users of the machine; chmod 600"),
        (open_to_writers, r"node\.key can be changed by other users of the machine; chmod go-w"),
        (remove_key, r"dicom\.tls_key: .*node\.key cannot be read"),
        (exchange, r"dicom\.tls_certificate and dicom\.tls_key: .*node\.pem is no PEM file, or not of this pair"),
        (damage, r"node\.pem is no PEM file"),
        (encrypt, r"the key has a passphrase; take it off"),
    ],
)
def test_a_pair_that_cannot_be_used_is_refused_before_anything_starts(
    tmp_path: Path, change: Callable[[Certificate], None], said: str
):
    pair = make_certificate(tmp_path, "node")
    settings = make_settings(tmp_path, DicomSettings(tls_certificate=pair.path, tls_key=pair.key), 1)
    assert make_server_tls(settings.dicom) is not None
    change(pair)
    with open_node(settings, Event()) as node, pytest.raises(UserError, match=said):
        node.run([])
    with pytest.raises(UserError, match=said):
        make_client_tls(settings.dicom)


def test_authorities_that_cannot_be_read_are_named(tmp_path: Path):
    for path, said in ((tmp_path / "none.pem", "cannot be read"), (Path(__file__), "is no PEM file")):
        with pytest.raises(UserError, match=rf"dicom\.tls_authorities: .*{path.name} {said}"):
            make_client_tls(DicomSettings(tls_authorities=path))
