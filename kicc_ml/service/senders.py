"""What the DICOM port notes for the hospital's audit: which studies each sender brought, and who was refused."""

import logging
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from pynetdicom.association import Association

from kicc_ml.core.errors import TargetError
from kicc_ml.service.audit import ASSOCIATION_REFUSED, REFUSED, SENDER, AuditLog, Event
from kicc_ml.service.refusals import Refusals

logger = logging.getLogger(__name__)

BEGUN, TRANSFERRED = "110102", "110104"
#: Studies of one line; an association that brings more has further lines.
MOST_STUDIES = 100
#: Of the library's rejections (PS3.8 9.3.4): source and diagnostic.
REASONS = {
    (1, 3): "its calling AE title is none of dicom.senders",
    (1, 7): "its called AE title is not dicom.title",
    (3, 2): "there were more associations than dicom.associations",
}


@dataclass
class Brought:
    """What an association has brought: the number of objects by study, and how many were not stored."""

    studies: dict[str, int] = field(default_factory=dict)
    not_stored: int = 0


@dataclass
class SenderLog:
    """Notes senders; the refused ones are a line an address and minute."""

    audit: AuditLog
    _brought: dict[Association, Brought] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._refusals = Refusals(self.audit)

    def note_stored(self, association: Association, study: str) -> None:
        """Note that a sender stored an object of a study; a line is written with the first one.

        Raises:
            TargetError: it cannot be written; the sender must not be told that the object was stored.
        """
        brought = self._brought.setdefault(association, Brought())
        if study not in brought.studies:
            self._note(association, Event(BEGUN, "C", studies=[study]))
            if len(brought.studies) >= MOST_STUDIES:
                self._end_studies(association, brought)
        brought.studies[study] = brought.studies.get(study, 0) + 1

    def count_not_stored(self, association: Association) -> None:
        """Count an object that was not stored."""
        self._brought.setdefault(association, Brought()).not_stored += 1

    def end(self, association: Association) -> None:
        """Note what an association has brought, now that it is over."""
        brought = self._brought.pop(association, None)
        if brought is None:
            return
        try:
            self._end_studies(association, brought)
            if brought.not_stored:
                event = Event(TRANSFERRED, "C", REFUSED, said=f"{brought.not_stored} objects were not stored")
                self._refusals.note(event, *_name(association))
        except TargetError as error:  # its begin was noted
            logger.warning("%s", error)

    def note_rejected(self, association: Association) -> None:
        """Note that an association was rejected, and why."""
        answer: Any = association.acceptor.primitive
        why = REASONS.get((answer.result_source, answer.diagnostic), "its request is not valid")
        self._refuse(f"the association was rejected: {why}", *_name(association))

    def note_closed(self, address: str, why: str) -> None:
        """Note that a connection was closed before it was known who wanted it."""
        self._refuse(f"the connection was closed: {why}", "", address)

    def _refuse(self, said: str, title: str, address: str) -> None:
        with suppress(TargetError):  # the disk is full: nobody gets in either
            self._refusals.note(replace(ASSOCIATION_REFUSED, said=said), title, address)

    def _end_studies(self, association: Association, brought: Brought) -> None:
        if brought.studies:
            said = f"{sum(brought.studies.values())} objects were stored"
            self._note(association, Event(TRANSFERRED, "C", studies=[*brought.studies], said=said))
        brought.studies.clear()

    def _note(self, association: Association, event: Event) -> None:
        title, address = _name(association)
        self.audit.note(event, title, address, SENDER)


def _name(association: Association) -> tuple[str, str]:
    """Return the AE title by which a sender called, and its network address."""
    info = association.requestor.address_info
    return association.requestor.ae_title, info.address if info else ""
