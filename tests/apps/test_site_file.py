"""The settings of a node are read from site.yaml; what is wrong there is named by its key."""

from pathlib import Path

import pytest

from kicc_ml.apps.site_file import read_site_file
from kicc_ml.core.errors import UserError

LEAST = "folder: node\ndicom:\n  senders: [PACS]\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "site.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_the_file_leaves_out_has_its_default_and_paths_are_beside_the_file(tmp_path: Path):
    settings = read_site_file(write(tmp_path, LEAST + "web:\n  users: users.yaml\n"))
    assert settings.folder == tmp_path / "node"
    assert settings.web.users == tmp_path / "users.yaml"
    assert settings.dicom.senders == ["PACS"]
    assert (settings.dicom.host, settings.web.host) == ("127.0.0.1", "127.0.0.1")
    assert not settings.pacs.is_named


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LEAST + "  sendrs: [A]\n", "no key dicom.sendrs"),
        (LEAST + "web:\n  passwort: x\n", "no key web.passwort"),
        (LEAST + "foldr: x\n", "no key foldr"),
        ("dicom:\n  senders: [A]\n", "folder is missing"),
        ("folder: node\n", "dicom.senders: name"),
        (LEAST + "  port: abc\n", "dicom.port: "),
        (LEAST + "  port: 70000\n", "dicom.port: "),
        (LEAST + "  title: a title of more than sixteen\n", "dicom.title: "),
        ("folder: node\ndicom: 3\n", "the file: "),
        ("- a\n- b\n", "the file: "),
        ("folder: [", "is not YAML"),
        ("folder: a\nfolder: b\n", "is not YAML"),
        (LEAST + "study:\n  complete_at: 0\n", "study.complete_at: it is more than 0"),
        (LEAST + "study:\n  quiet_s: .nan\n", "study.quiet_s: it is 0 or more"),
        (LEAST + "retention:\n  results_days: -1\n", "retention.results_days: it is 0 or more"),
        (LEAST + "pacs:\n  host: pacs\n", "pacs.title: "),
        (LEAST + "pacs:\n  host: pacs\n  title: P\n  stow: https://pacs\n", "pacs: name either"),
        (LEAST + "web:\n  proxies: [10.1.2.0/24, proxy.hospital]\n", "web.proxies[1]: it is an IP address"),
        (LEAST + "web:\n  proxies: ['*']\n", "web.proxies[0]: it is an IP address"),
        (LEAST + "  tls_authorities: ca.pem\n", "dicom.tls_authorities: name tls_certificate"),
        (LEAST + "web:\n  language: xx\n", "web.language: it is one of en, ko"),
    ],
)
def test_what_is_wrong_is_named_by_its_key(tmp_path: Path, text: str, said: str):
    path = write(tmp_path, text)
    with pytest.raises(UserError) as raised:
        read_site_file(path)
    assert str(path) in str(raised.value)
    assert said in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"none\.yaml cannot be read"):
        read_site_file(tmp_path / "none.yaml")
