"""Who did what, for the hospital's audit: one JSON line an event, with the fields of DICOM PS3.15 A.5 (IHE ATNA)."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from kicc_ml.core.errors import TargetError, make_target_error
from kicc_ml.core.files import PRIVATE_FILE

#: Audit event IDs and types of DICOM PS3.16 (CID 400 and 401).
EVENT_NAMES = {
    "110100": "Application Activity",
    "110102": "Begin Transferring DICOM Instances",
    "110103": "DICOM Instances Accessed",
    "110104": "DICOM Instances Transferred",
    "110105": "DICOM Study Deleted",
    "110106": "Export",
    "110112": "Query",
    "110113": "Security Alert",
    "110114": "User Authentication",
    "110120": "Application Start",
    "110121": "Application Stop",
    "110122": "Login",
    "110123": "Logout",
    "110126": "Node Authentication",
    "110132": "Use of Restricted Function",
}
#: Roles of who takes part (CID 402); those of users are our own.
APPLICATION, SENDER = "110150", "110153"
ROLE_NAMES = {APPLICATION: "Application", SENDER: "Source Role ID"}
OWN_NAME = "kicc_ml"
SUCCESS, REFUSED = "0", "4"
MAX_TEXT_CHARACTERS = 256
#: The page and the DICOM port write to one file.
_writing = Lock()


@dataclass(frozen=True)
class Event:
    """An event: ``event`` and ``kind`` are codes of ``EVENT_NAMES``; ``action`` is one of C, R, U, D and E.

    ``studies`` has the Study Instance UIDs that it is about, ``query`` what was searched for.
    """

    event: str
    action: str
    outcome: str = SUCCESS
    kind: str = ""
    studies: Sequence[str] = ()
    query: str = ""
    said: str = ""


LOGIN = Event("110114", "E", kind="110122")
LOGIN_REFUSED = Event("110114", "E", REFUSED, "110122")
LOGOUT = Event("110114", "E", kind="110123")
RESTRICTED = Event("110113", "E", REFUSED, "110132")
STARTED = Event("110100", "E", kind="110120")
STOPPED = Event("110100", "E", kind="110121")
ASSOCIATION_REFUSED = Event("110113", "E", REFUSED, "110126")


@dataclass(frozen=True)
class AuditLog:
    """A file to which events are only added. Another program may move it away: the next event begins a new one."""

    path: Path

    def note(self, event: Event, user: str, address: str, role: str = "") -> None:
        """Add an event.

        Args:
            event: what happened.
            user: who did it, as far as they said.
            address: the network address from which they did it.
            role: their role.

        Raises:
            TargetError: the event cannot be written; what it is about must not happen then.
        """
        self._write(_make_message(event, _make_participant(user, address, role)))

    def note_own(self, event: Event) -> None:
        """Add an event of which nobody but this node is the cause.

        Args:
            event: what happened.

        Raises:
            TargetError: the event cannot be written.
        """
        self._write(_make_message(event, _make_participant(OWN_NAME, "", APPLICATION, asked=False)))

    def _write(self, message: Mapping[str, object]) -> None:
        line = json.dumps(message) + "\n"  # ASCII: no text can steer a terminal
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, PRIVATE_FILE)
            try:
                with _writing:
                    self._add(descriptor, line.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            raise make_target_error(self.path, error) from error

    def _add(self, descriptor: int, line: bytes) -> None:
        """Add a whole line, or nothing; also after half a line, which a machine that lost power may leave."""
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        if os.write(descriptor, line) != len(line):
            os.ftruncate(descriptor, size)
            raise TargetError(f"{self.path} cannot be written: the disk is full")


def _make_message(event: Event, participant: Mapping[str, object]) -> Mapping[str, object]:
    identification: dict[str, object] = {
        "EventID": _make_code(event.event),
        "EventActionCode": event.action,
        "EventDateTime": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "EventOutcomeIndicator": event.outcome,
    }
    if event.kind:
        identification["EventTypeCode"] = [_make_code(event.kind)]
    if event.said:
        identification["EventOutcomeDescription"] = event.said[:MAX_TEXT_CHARACTERS]
    return {
        "EventIdentification": identification,
        "ActiveParticipant": [participant],
        "AuditSourceIdentification": {"AuditSourceID": "kicc_ml", "AuditSourceTypeCode": [{"csd-code": "4"}]},
        "ParticipantObjectIdentification": [*map(_make_study, event.studies), *_make_query(event.query)],
    }


def _make_participant(user: str, address: str, role: str, asked: bool = True) -> Mapping[str, object]:
    participant: dict[str, object] = {"UserID": user[:MAX_TEXT_CHARACTERS], "UserIsRequestor": asked}
    if address:
        participant |= {"NetworkAccessPointID": address, "NetworkAccessPointTypeCode": "2"}  # an IP address
    if role:
        scheme = "DCM" if role in ROLE_NAMES else "99KICC"
        name = ROLE_NAMES.get(role, role)
        participant["RoleIDCode"] = [{"csd-code": role, "codeSystemName": scheme, "originalText": name}]
    return participant


def _make_code(code: str) -> dict[str, str]:
    return {"csd-code": code, "codeSystemName": "DCM", "originalText": EVENT_NAMES[code]}


def _make_study(uid: str) -> dict[str, object]:
    kind = {"csd-code": "110180", "codeSystemName": "DCM", "originalText": "Study Instance UID"}
    return {
        "ParticipantObjectID": uid,
        "ParticipantObjectTypeCode": "2",  # a system object
        "ParticipantObjectTypeCodeRole": "3",  # a report
        "ParticipantObjectIDTypeCode": kind,
    }


def _make_query(query: str) -> list[dict[str, object]]:
    kind = {"csd-code": "10", "codeSystemName": "RFC-3881", "originalText": "Search Criteria"}
    role = {"ParticipantObjectTypeCode": "2", "ParticipantObjectTypeCodeRole": "24"}
    return [{**role, "ParticipantObjectIDTypeCode": kind, "ParticipantObjectQuery": query[:256]}] if query else []
