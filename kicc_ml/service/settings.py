"""The settings of a hospital node, as ``site.yaml`` states them; :mod:`kicc_ml.apps.site_file` reads that file."""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kicc_ml.core.errors import UserError

MAX_TITLE_CHARACTERS = 16  # of an AE title (PS3.5 6.2)
LANGUAGES = ("en", "ko")
FROM_ZERO = frozenset({"study.quiet_s", "retention.received_days", "retention.results_days", "retention.min_free_gib"})
ABOVE_ZERO = frozenset(
    {
        *(f"dicom.{name}" for name in ("associations", "object_mib", "association_idle_s")),
        *(f"study.{name}" for name in ("max_instances", "max_in_flight", "complete_at")),
        *("worker.job_minutes", "pacs.first_pause_s", "pacs.longest_pause_s"),
    }
)


@dataclass(frozen=True)
class DicomSettings:
    """Of the DICOM port. ``senders`` are the AE titles that may call; ``title`` is our own.

    ``association_idle_s`` is the time within which a sender has to bring a whole object over.
    """

    title: str = "KICC_ML"
    host: str = "127.0.0.1"
    port: int = 11112
    senders: list[str] = field(default_factory=list)
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_authorities: Path | None = None
    associations: int = 8
    pdu_bytes: int = 2**17
    object_mib: int = 1024
    association_idle_s: float = 300.0


@dataclass(frozen=True)
class StudySettings:
    """When a study is complete: after ``quiet_s`` without a further instance, or with ``complete_at`` instances.

    At most ``max_instances`` of a study and ``max_in_flight`` studies that are not yet predicted are taken in.
    """

    quiet_s: float = 60.0
    complete_at: int | None = None
    max_instances: int = 5000
    max_in_flight: int = 500


@dataclass(frozen=True)
class WorkerSettings:
    """One worker process for each of ``devices``; a study may take ``job_minutes``. ``fast`` as of ``predict``."""

    devices: list[str] = field(default_factory=lambda: ["auto"])
    job_minutes: float = 60.0
    fast: bool = False


@dataclass(frozen=True)
class PacsSettings:
    """Where results are delivered: by C-STORE to ``title`` at ``host`` and ``port``, or by STOW-RS to ``stow``.

    Without ``host`` and ``stow`` they stay in the folder of the node. ``tls`` uses certificate and authorities of the
    DICOM port.
    """

    title: str = ""
    host: str = ""
    port: int = 104
    tls: bool = False
    stow: str = ""
    first_pause_s: float = 5.0
    longest_pause_s: float = 3600.0

    @property
    def is_named(self) -> bool:
        """Whether there is a PACS to deliver to."""
        return bool(self.host or self.stow)


@dataclass(frozen=True)
class RetentionSettings:
    """Days after which the pixels and the results of an ended study are removed, and the disk that stays free."""

    received_days: float = 7.0
    results_days: float = 90.0
    min_free_gib: float = 20.0


@dataclass(frozen=True)
class WebSettings:
    """Of the worklist page; with port 0 there is none.

    ``users`` is a file of names, roles and hashed passwords, ``token`` one that holds a token for programs.
    ``proxy_path`` is the path under which a reverse proxy serves the page, such as ``/kicc``; ``proxies`` has the
    addresses of those that are believed from where a request came. Without them all users behind one have its address.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    users: Path | None = None
    token: Path | None = None
    proxy_path: str = ""
    proxies: list[str] = field(default_factory=lambda: ["127.0.0.1", "::1"])
    language: str = "en"


@dataclass(frozen=True)
class SiteSettings:
    """All settings of a node. ``folder`` holds everything that it keeps, which identifies patients.

    ``identified``: name, number and study date of the patient are kept for the worklist, and stand on page and sheet.
    """

    folder: Path
    identified: bool = False
    dicom: DicomSettings = field(default_factory=DicomSettings)
    study: StudySettings = field(default_factory=StudySettings)
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    pacs: PacsSettings = field(default_factory=PacsSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    web: WebSettings = field(default_factory=WebSettings)

    def check(self) -> None:
        """Check what no type says.

        Raises:
            UserError: a value makes no sense; the message names its key and says what it may be.
        """
        for key, remedy in self._find_faults():
            raise UserError(f"{key}: {remedy}")

    def _find_faults(self) -> Iterator[tuple[str, str]]:
        titles = {
            "dicom.title": self.dicom.title,
            **{f"dicom.senders[{i}]": t for i, t in enumerate(self.dicom.senders)},
        }
        titles |= {"pacs.title": self.pacs.title} if self.pacs.host else {}
        for key, title in titles.items():
            if not title.strip() or len(title) > MAX_TITLE_CHARACTERS or not title.isascii() or "\\" in title:
                yield key, f"an AE title has 1 to {MAX_TITLE_CHARACTERS} ASCII characters and no backslash"
        if not self.dicom.senders:
            yield "dicom.senders", "name the AE titles that may send studies"
        for key, port, least in (
            ("dicom.port", self.dicom.port, 1),
            ("pacs.port", self.pacs.port, 1),
            ("web.port", self.web.port, 0),
        ):
            if not least <= port < 2**16:
                yield key, f"a port is a number from {least} to 65535"
        if self.pacs.host and self.pacs.stow:
            yield "pacs", "name either host (C-STORE) or stow (STOW-RS), not both"
        if self.pacs.tls and self.dicom.tls_authorities is None:
            yield "pacs.tls", "name in dicom.tls_authorities who vouches for the certificate of the PACS"
        if bool(self.dicom.tls_certificate) != bool(self.dicom.tls_key):
            yield "dicom.tls_certificate", "name certificate and tls_key, or neither"
        if self.dicom.tls_authorities and not self.dicom.tls_certificate and not self.pacs.tls:
            yield "dicom.tls_authorities", "name tls_certificate and tls_key too: without them the port has no TLS"
        if not self.worker.devices:
            yield "worker.devices", "name at least one device, such as auto"
        for number, proxy in enumerate(self.web.proxies):
            if not _is_network(proxy):
                yield f"web.proxies[{number}]", "it is an IP address, or a network such as 10.1.2.0/24"
        if self.web.language not in LANGUAGES:
            yield "web.language", f"it is one of {', '.join(LANGUAGES)}"
        yield from self._find_numbers_out_of_range()

    def _find_numbers_out_of_range(self) -> Iterator[tuple[str, str]]:
        for key in sorted(ABOVE_ZERO | FROM_ZERO):
            section, name = key.split(".")
            value = getattr(getattr(self, section), name)
            if value is not None and not (value >= 0 if key in FROM_ZERO else value > 0):
                yield key, "it is 0 or more" if key in FROM_ZERO else "it is more than 0"
        if not 2**12 <= self.dicom.pdu_bytes <= 2**20:
            yield "dicom.pdu_bytes", "it is from 4096 to 1048576"


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True
