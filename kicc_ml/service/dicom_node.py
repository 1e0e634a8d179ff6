"""The DICOM side of a hospital node: C-ECHO and C-STORE, for known senders, within limits."""

import logging
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from kicc_ml.core.errors import TargetError, UserError
from kicc_ml.dicom.header.received_object import make_answer
from kicc_ml.dicom.pixels.codestream import DECODABLE_SYNTAXES
from kicc_ml.service.arrivals import Arrivals
from kicc_ml.service.audit import AuditLog
from kicc_ml.service.intake import Answer, Intake, Status
from kicc_ml.service.senders import SenderLog
from kicc_ml.service.settings import DicomSettings
from kicc_ml.service.tls import make_server_tls

logger = logging.getLogger(__name__)

#: Said by no object: commands, and what belongs to other commands than C-STORE. Objects themselves go to the disk.
MAX_BYTES_IN_MEMORY = 2**20
#: Beside the length that a node states, a PDU has a header for each of its parts.
PDU_HEADERS_BYTES = 2**16
#: A peer that says nothing for so long is gone, or never was one.
NETWORK_S = 30


def make_entity(settings: DicomSettings) -> AE:
    """Make the application entity that listens.

    Args:
        settings: those of the port.

    Returns:
        the entity, with what it accepts; ``docs/dicom-conformance.md`` is made from it.
    """
    entity = AE(ae_title=settings.title)
    entity.require_called_aet = True
    entity.require_calling_aet = list(settings.senders)
    entity.maximum_associations = settings.associations
    entity.maximum_pdu_size = settings.pdu_bytes
    entity.network_timeout = entity.acse_timeout = NETWORK_S
    entity.dimse_timeout = settings.association_idle_s
    for context in AllStoragePresentationContexts:
        entity.add_supported_context(str(context.abstract_syntax), list(DECODABLE_SYNTAXES))
    entity.add_supported_context(Verification)
    return entity


class DicomNode:
    """Listens for senders, and hands what they store to the intake. Start it with :meth:`running`."""

    def __init__(self, settings: DicomSettings, intake: Intake) -> None:
        """Read the certificates.

        Raises:
            UserError: one cannot be used, or others can read the key.
        """
        self._tls = make_server_tls(settings)
        self._senders = SenderLog(AuditLog(intake.folders.audit_log))
        self.settings, self.intake = settings, intake
        self._arrivals = Arrivals(intake.folders.incoming)
        self._progress: dict[Any, float] = {}  # when each association last brought an object over
        self._bytes: dict[Any, int] = {}  # of the message that each is sending

    @contextmanager
    def running(self) -> Iterator["DicomNode"]:
        """Listen as long as the block runs.

        Raises:
            UserError: the port is taken.
        """
        entity = make_entity(self.settings)
        handlers = [
            *((evt.EVT_CONN_OPEN, self._begin), (evt.EVT_CONN_CLOSE, _wake), (evt.EVT_PDU_RECV, self._measure)),
            *((evt.EVT_DIMSE_RECV, self._begin_next), (evt.EVT_C_STORE, self._store)),
            (evt.EVT_REJECTED, lambda event: self._senders.note_rejected(event.assoc)),
        ]
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # it logs UIDs and titles
        warnings.filterwarnings("ignore", module="pydicom")  # they quote values
        with self._arrivals.on_disk():
            server = self._listen(entity, handlers)
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield self
            finally:
                entity.shutdown()

    def _listen(self, entity: AE, handlers: list[Any]) -> "_BoundedServer":
        address = (self.settings.host, self.settings.port)
        try:
            server = _BoundedServer(
                entity,
                address,
                self.settings.title,
                entity.supported_contexts,
                ssl_context=self._tls,
                evt_handlers=handlers,
                request_handler=_BoundedHandler,
            )
        except OSError as error:
            raise UserError(
                f"port {address[1]} of {address[0]} cannot be used ({error.strerror or error}); name another one as "
                "dicom.port"
            ) from error
        entity._servers.append(server)  # as its own start_server does, which takes no class of server
        server.max_pdu_bytes = self.settings.pdu_bytes + PDU_HEADERS_BYTES
        server.max_connections = 2 * self.settings.associations  # those above the first half are told so
        server.on_end, server.on_close = self._end, self._senders.note_closed
        return server

    def close_stuck(self) -> None:
        """End associations that brought no whole object over in time, and remove their files. Call it now and then."""
        for association, last in list(self._progress.items()):
            if time.monotonic() - last > self.settings.association_idle_s:
                logger.warning("an association that brings nothing over is ended")
                self._progress.pop(association, None)
                association.dul.socket._shutdown_socket()
        self._arrivals.remove_old(self.settings.association_idle_s)

    def _begin(self, event: evt.Event) -> None:
        self._progress[event.assoc] = time.monotonic()

    def _end(self, association: Association) -> None:
        self._progress.pop(association, None)
        self._bytes.pop(association, None)
        self._arrivals.remove(association.dul)
        self._senders.end(association)

    def _begin_next(self, event: evt.Event) -> None:
        self._bytes.pop(event.assoc, None)

    def _measure(self, event: evt.Event) -> None:
        """End an association whose message is larger than any valid one, before it takes the memory or the disk."""
        association = event.assoc
        size = self._bytes[association] = self._bytes.get(association, 0) + event.pdu.pdu_length
        message = association.dimse.message
        on_disk = message is not None and message._data_set_file is not None
        most = self.settings.object_mib * 2**20 if on_disk else MAX_BYTES_IN_MEMORY + self.settings.pdu_bytes
        if size > most or association.dimse.msg_queue.qsize() > 2:
            logger.warning("an association that sends more than may be sent is ended")
            association.abort()
        elif on_disk and size > MAX_BYTES_IN_MEMORY and not self.intake.has_room:  # a smaller one is told when whole
            logger.warning("an association is ended, since the disk of the node is nearly full")
            association.abort()

    def _store(self, event: evt.Event) -> Any:
        self._progress[event.assoc] = time.monotonic()
        request: Any = event.request
        path = Path(event.dataset_path)
        with self.intake.temporary_file() as own:
            path.rename(own)  # the library removes its own file afterwards, if it is there
            path.touch()
            answer = self.intake.take(own, str(request.AffectedSOPInstanceUID), str(request.AffectedSOPClassUID))
        status, reason, _ = self._note(event.assoc, answer)
        if status != Status.STORED:
            logger.warning("an object of %s was not stored: %s", event.assoc.requestor.ae_title, reason)
        is_theirs = status not in (Status.STORED, Status.OUT_OF_RESOURCES)  # what is ours says where its folder lies
        return make_answer(int(status), reason if is_theirs else "")

    def _note(self, association: Association, answer: Answer) -> Answer:
        """Note an object; what cannot be noted is not confirmed, and its sender sends it again."""
        if answer.status != Status.STORED:
            self._senders.count_not_stored(association)
            return answer
        try:
            self._senders.note_stored(association, answer.study)
        except TargetError as error:
            return Answer(Status.OUT_OF_RESOURCES, str(error))
        return answer


def _wake(event: evt.Event) -> None:
    """End the wait for the request of a connection that is closed, which has its place until then."""
    reader: Any = event.assoc.dul
    if reader.state_machine.current_state in ("Sta2", "Sta13") and reader.to_user_queue.empty():  # PS3.8 9.2
        reader.to_user_queue.put(None)  # as at the end of a wait


def _read_quietly(read: Callable[[], None], reader: Any) -> None:
    """Read an association, which ends where the library has no answer to what it reads, or no disk to keep it."""
    try:
        read()
    except Exception as error:
        logger.warning("an association is ended, since it cannot be followed (%s)", type(error).__name__)
        reader.to_user_queue.put(None)  # nobody waits for more
        reader.socket._shutdown_socket()  # nor does the sender for an answer


class _BoundedServer(ThreadedAssociationServer):
    """Refuses connections above a number, so that none waits in a thread of its own; handshakes hold nobody up."""

    max_pdu_bytes = 0
    max_connections = 0
    on_end: Callable[[Association], None]
    on_close: Callable[[str, str], None]  # of an address, for this reason
    daemon_threads = True
    request_queue_size = 128  # that come at once wait so long until each is taken or refused

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._free = threading.Lock()
        self._connections = 0
        super().__init__(*arguments, **named)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Count a connection at once: its association begins only when many contexts have been copied."""
        with self._free:
            is_free = self._connections < self.max_connections
            self._connections += is_free
        if not is_free:
            self.on_close(str(client_address[0]), "there were too many")
        return is_free

    def process_request(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread can be started
            self._uncount()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._uncount()

    def _uncount(self) -> None:
        with self._free:
            self._connections -= 1

    def get_request(self) -> Any:
        assert self.socket is not None
        connection, address = self.socket.accept()
        connection.settimeout(self.ae.network_timeout)
        if self.ssl_context:
            connection = self.ssl_context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address


class _BoundedHandler(RequestHandler):
    """Reads no PDU that is longer than was agreed: the length that a sender states is reserved in memory."""

    server: _BoundedServer

    def handle(self) -> None:
        """Run an association to its end, that is also that of the thread which reads it."""
        association = self._create_association()
        association.dul.run = partial(_read_quietly, association.dul.run, association.dul)
        evt.trigger(association, evt.EVT_CONN_OPEN, {"address": self.client_address})
        try:
            association.start()
            association.join()
            association.dul.join()
        finally:
            self.server.on_end(association)

    def _create_association(self) -> Any:
        association = super()._create_association()
        connection: Any = association.dul.socket
        receive, most = connection.recv, getattr(self.server, "max_pdu_bytes", 0)

        def receive_bounded(count: int) -> bytearray:
            if count > most:
                raise OSError(f"a PDU of {count} bytes")
            try:
                return receive(count)
            except ssl.SSLError as error:
                self.server.on_close(str(self.client_address[0]), f"TLS failed ({error.reason})")
                raise

        connection.recv = receive_bounded
        return association
