"""Who is logged in, and how often somebody may try to."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from kicc_ml.service.web.users import User

#: One more session of a user ends their oldest one, and nobody else's.
SESSION_S, MAX_OF_USER = 10 * 3600.0, 20
#: The list of a search that is asked for again within this time is the same list: a browser asks every few seconds.
SAME_LIST_S, MAX_NOTED = 120.0, 20
#: Failed tries to log in, within ``TRIES_S``: of one name from one address, and of all names from one address.
TRIES_S, MOST_OF_NAME, MOST_OF_ADDRESS, MAX_COUNTED = 300.0, 5, 30, 10_000


@dataclass(frozen=True)
class Session:
    """Somebody who is logged in until ``ends``, by the clock of :class:`Sessions`.

    ``noted`` has the time at which the list of each search was last asked for, since the audit log had the search.
    """

    user: User
    ends: float
    noted: dict[str, float] = field(default_factory=dict)


class Sessions:
    """The sessions of this process: all end when the node does. Only digests of their tokens are kept."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, Lock()
        self._sessions: dict[str, Session] = {}
        self._key = secrets.token_bytes(32)

    def begin(self, user: User) -> str:
        """Begin a session, and return its token."""
        token, now = secrets.token_urlsafe(32), self._clock()
        with self._lock:
            kept = {one: session for one, session in self._sessions.items() if session.ends > now}
            own = [one for one, session in kept.items() if session.user == user]
            for one in own[: max(0, len(own) + 1 - MAX_OF_USER)]:
                kept.pop(one)
            self._sessions = kept | {_digest(token): Session(user, now + SESSION_S)}
        return token

    def find(self, token: str) -> User | None:
        """Return who has this token, as long as the session lasts."""
        session = self._sessions.get(_digest(token))
        return session.user if session and session.ends > self._clock() else None

    def is_noted(self, token: str, search: str) -> bool:
        """Whether the audit log has this search of a session, whose list is only asked for again."""
        session = self._sessions.get(_digest(token))
        return session is not None and self._clock() - session.noted.get(search, -SAME_LIST_S) < SAME_LIST_S

    def keep_noted(self, token: str, search: str) -> None:
        """Keep that the list of a search, which the audit log has, was asked for now."""
        with self._lock:
            session = self._sessions.get(_digest(token))
            if session is None:
                return
            session.noted.pop(search, None)
            session.noted[search] = self._clock()
            while len(session.noted) > MAX_NOTED:
                session.noted.pop(next(iter(session.noted)))

    def end(self, token: str) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(_digest(token), None)

    def make_form_token(self, cookie: str) -> str:
        """Make what a form has to send beside a cookie: nobody else's page can know it."""
        return hmac.new(self._key, cookie.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()

    def is_own_form(self, cookie: str, form_token: str) -> bool:
        """Whether a form was made by this node for the holder of a cookie."""
        own = self.make_form_token(cookie).encode()
        return bool(cookie) and hmac.compare_digest(own, form_token.encode("utf-8", "surrogateescape"))


class LoginTries:
    """Counts failed tries to log in."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, Lock()
        self._failed: dict[tuple[str, ...], tuple[float, int]] = {}

    def begin(self, name: str, address: str) -> bool:
        """Whether there may be one more try, which counts as failed until it is forgiven."""
        with self._lock:
            self._forget_old()
            of_name, of_address = self._count(name, address), self._count(address)
            if of_name >= MOST_OF_NAME or of_address >= MOST_OF_ADDRESS:
                return False
            for key, failed in (((name, address), of_name), ((address,), of_address)):
                since, _ = self._failed.get(key, (self._clock(), 0))
                self._failed[key] = since, failed + 1
            return True

    def forgive(self, name: str, address: str) -> None:
        """Take back what was counted of a name, since its password was right; others of the address stay counted."""
        with self._lock:
            self._failed.pop((name, address), None)
            since, failed = self._failed.get((address,), (self._clock(), 0))
            self._failed[(address,)] = since, max(0, failed - 1)

    def _count(self, *key: str) -> int:
        return self._failed.get(key, (0.0, 0))[1]

    def _forget_old(self) -> None:
        now = self._clock()
        kept = {key: one for key, one in self._failed.items() if now - one[0] < TRIES_S}
        while len(kept) > MAX_COUNTED:
            kept.pop(next(iter(kept)))
        self._failed = kept


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
