"""Deliver results to the PACS, by C-STORE or STOW-RS. What it does not take is tried again, with growing pauses."""

import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from pynetdicom import AE, _config
from pynetdicom.association import Association

from kicc_ml.core.errors import UserError
from kicc_ml.dicom.header.received_object import ObjectIdentity, read_object_identity
from kicc_ml.dicom.web.service import push
from kicc_ml.service.intake import Folders
from kicc_ml.service.outbox import Outbox, Parcel
from kicc_ml.service.settings import DicomSettings, PacsSettings
from kicc_ml.service.tls import make_client_tls

logger = logging.getLogger(__name__)

LOOK_S = 0.5
PAUSE_S = 30.0
#: Objects that are sent over one association.
MOST_AT_ONCE = 50
#: Statuses with which a PACS has an object (PS3.4 B.2.3): stored, stored with changes, or there before.
HAS_IT = frozenset({0x0000, 0xB000, 0xB006, 0xB007, 0x0111})
CONNECT_S, ANSWER_S = 15, 300


@dataclass(frozen=True)
class Opened:
    """An object to deliver, its file under a name that nothing else uses, and what it is."""

    parcel: Parcel
    path: Path
    identity: ObjectIdentity


@dataclass(frozen=True)
class Delivery:
    """Brings the objects of the outbox to the PACS. ``stop`` is set where the node ends."""

    outbox: Outbox
    folders: Folders
    dicom: DicomSettings
    pacs: PacsSettings
    stop: Event

    def run(self) -> None:
        """Deliver until the node ends."""
        _config.STORE_SEND_CHUNKED_DATASET = True  # from the disk, not by way of the memory
        while not self.stop.is_set():
            try:
                if not self.deliver_due():
                    self.stop.wait(LOOK_S)
            except Exception:  # a full disk, for example: what could not be noted is tried again
                logger.exception("delivery")
                self.stop.wait(PAUSE_S)

    def deliver_due(self) -> int:
        """Try the objects whose time has come, and return how many they were."""
        parcels = self.outbox.list_due(MOST_AT_ONCE)
        with self._open(parcels) as opened:
            if self.pacs.stow:
                self._push(opened)
            elif opened:
                self._store(opened)
        return len(parcels)

    @contextmanager
    def _open(self, parcels: Sequence[Parcel]) -> Iterator[list[Opened]]:
        """Yield the objects under names of their own: a file that a worker replaces meanwhile stays what it was."""
        opened: list[Opened] = []
        try:
            for parcel in parcels:
                path = self.folders.incoming / f"{secrets.token_hex(8)}.dcm"
                try:
                    _link_or_copy(self.folders.results / parcel.path, path)
                    identity = read_object_identity(path)
                except (OSError, UserError) as error:
                    path.unlink(missing_ok=True)
                    self._postpone(parcel, f"its file cannot be read ({error})")
                    continue
                opened.append(Opened(parcel, path, identity))
            replaced = [one for one in opened if one.identity.sop != one.parcel.sop]
            for one in replaced:
                self._postpone(one.parcel, "its file was replaced by that of another object")
            yield [one for one in opened if one not in replaced]
        finally:
            for one in opened:
                one.path.unlink(missing_ok=True)

    def _push(self, opened: Sequence[Opened]) -> None:
        for one in opened:
            if self.stop.is_set():
                return
            if not self.outbox.is_open(one.parcel):
                continue
            try:
                push(self.pacs.stow, [one.path])
            except UserError as error:
                self._postpone(one.parcel, str(error))
            else:
                self.outbox.mark_delivered(one.parcel)

    def _store(self, opened: Sequence[Opened]) -> None:
        waiting = list(opened)
        with self._associated(opened) as association:
            refusal = "" if association.is_established else self._describe_refusal(association)
            while waiting and association.is_established and not self.stop.is_set():
                one = waiting.pop(0)
                if not self.outbox.is_open(one.parcel):
                    continue
                if fault := _store_one(association, one):
                    self._postpone(one.parcel, fault)
                else:
                    self.outbox.mark_delivered(one.parcel)
        for one in waiting if refusal else ():  # else they are next: it was not their fault that the association ended
            self._postpone(one.parcel, refusal)

    @contextmanager
    def _associated(self, opened: Sequence[Opened]) -> Iterator[Association]:
        entity = AE(ae_title=self.dicom.title)
        entity.connection_timeout = entity.acse_timeout = CONNECT_S
        entity.dimse_timeout = entity.network_timeout = ANSWER_S
        for sop_class, syntax in sorted({(one.identity.sop_class, one.identity.transfer_syntax) for one in opened}):
            entity.add_requested_context(sop_class, syntax)
        tls = (make_client_tls(self.dicom), self.pacs.host) if self.pacs.tls else None
        association = entity.associate(self.pacs.host, self.pacs.port, ae_title=self.pacs.title, tls_args=tls)
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    def _describe_refusal(self, association: Association) -> str:
        pacs = f"{self.pacs.title} at {self.pacs.host}:{self.pacs.port}"
        if association.is_rejected:
            return f"{pacs} rejects {self.dicom.title}; add it to the senders of the PACS, and check both titles"
        return f"{pacs} does not answer; is it running?"

    def _postpone(self, parcel: Parcel, error: str) -> None:
        logger.warning("an object is delivered later: %s", error)
        self.outbox.postpone(parcel, error, self.pacs.first_pause_s, self.pacs.longest_pause_s)


def _link_or_copy(path: Path, to: Path) -> None:
    """Give a file a second name; some file systems of networks know no second names."""
    try:
        os.link(path, to)
    except OSError:
        shutil.copyfile(path, to)


def _store_one(association: Association, one: Opened) -> str:
    """Store one object; returns why the PACS does not have it, "" where it has."""
    try:
        status = association.send_c_store(one.path).get("Status")
    except ValueError:  # of the library, where no presentation context was accepted
        return f"the PACS does not take objects of the class {one.identity.sop_class}"
    except RuntimeError:
        status = None
    if status is None:
        return "the PACS has ended the association before it said that it has the object"
    return "" if status in HAS_IT else f"the PACS answers with status 0x{status:04X}"
