"""Certificates of 127.0.0.1 that vouch for themselves, made where a test runs."""

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from kicc_ml.service.settings import DicomSettings
from kicc_ml.service.tls import make_client_tls, make_server_tls


@dataclass(frozen=True)
class Certificate:
    """PEM files of a certificate and of its key."""

    path: Path
    key: Path

    def trusting(self, *others: "Certificate") -> DicomSettings:
        """The settings of who shows this certificate, and believes only these others."""
        authorities = self.path.with_name(f"trusted-by-{self.path.name}")
        authorities.write_text("".join(one.path.read_text() for one in others))
        return DicomSettings(tls_certificate=self.path, tls_key=self.key, tls_authorities=authorities)

    def as_client(self, *others: "Certificate") -> ssl.SSLContext:
        """What a client shows who has this certificate."""
        return make_client_tls(self.trusting(*others))

    def as_server(self, *others: "Certificate") -> ssl.SSLContext:
        """What a server shows that has this certificate."""
        context = make_server_tls(self.trusting(*others))
        assert context is not None
        return context


def make_certificate(folder: Path, name: str) -> Certificate:
    """Make a key, and a certificate that it signs. Skips the test where there is no openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here: apt-get install openssl")
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    command = [
        *new.split(),
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-subj",
        f"/CN={name}",
        "-keyout",
        str(made.key),
        "-out",
        str(made.path),
    ]
    subprocess.run(command, check=True, capture_output=True)
    made.key.chmod(0o600)
    return made
