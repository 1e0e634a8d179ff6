"""Refusals of who is not known, for the audit log: one line an address and minute, so that nobody fills the disk."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Lock

from kicc_ml.service.audit import AuditLog, Event

COUNTED_S = 60.0
#: Addresses that are counted apart; all further ones are counted as one.
MAX_ADDRESSES = 1000


@dataclass
class Counted:
    """What was refused an address since a line of the log: so many further times."""

    event: Event
    address: str
    since: float
    further: int = 0


@dataclass
class Refusals:
    """Notes the first refusal of each address at once, and the number of the further ones after a minute."""

    audit: AuditLog
    clock: Callable[[], float] = time.monotonic
    _lock: Lock = field(default_factory=Lock)
    _counted: dict[str, Counted] = field(default_factory=dict)

    def note(self, event: Event, user: str, address: str) -> None:
        """Note that somebody was refused who is not known.

        Args:
            event: what was refused.
            user: who they said they are.
            address: the network address from which they asked.

        Raises:
            TargetError: it cannot be noted.
        """
        with self._lock:
            self._note_further()
            key = address if address in self._counted or len(self._counted) < MAX_ADDRESSES else ""
            counted = self._counted.get(key)
            if counted:
                counted.further += 1
                return
            self.audit.note(event, user, address)
            self._counted[key] = Counted(event, key, self.clock())

    def _note_further(self) -> None:
        late = [key for key, one in self._counted.items() if self.clock() - one.since >= COUNTED_S]
        for key in late:
            counted = self._counted.pop(key)
            if counted.further:
                said = f"{counted.further} further refusals of this address within {COUNTED_S:.0f} s"
                self.audit.note(replace(counted.event, said=said), "", counted.address)
