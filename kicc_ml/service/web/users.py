"""Who may see the worklist: users with hashed passwords, and a token for programs.

``python -m kicc_ml.service.web.users NAME ROLE`` asks for a password and prints the entry for the file of users.
"""

import getpass
import hashlib
import hmac
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Semaphore
from typing import Any, Literal

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import Type

from kicc_ml.core.errors import UserError
from kicc_ml.core.files import format_yaml
from kicc_ml.core.received import read_yaml
from kicc_ml.core.shown import say
from kicc_ml.service.private_files import refuse_open_file

Role = Literal["viewer", "operator", "program"]
#: Of users in the file; a program has the token.
ROLES: tuple[Role, ...] = ("viewer", "operator")
KEYS = {"name", "role", "password"}
LIST_REMEDY = "docs/hospital-page.md shows a file of users"
MAX_NAME_CHARACTERS, MIN_PASSWORD_CHARACTERS, MAX_PASSWORD_CHARACTERS = 64, 12, 256
MIN_TOKEN_CHARACTERS, MAX_TOKEN_BYTES = 32, 1024
#: Each check of a password takes 64 MiB for a moment; so many are made at once.
CHECKS_AT_ONCE = 2
#: Argon2 parameters above these would hold the node up: they are a mistake, or meant to.
MOST_KIB, MOST_PASSES = 2**20, 20

hasher = PasswordHasher()


@dataclass(frozen=True)
class User:
    """Somebody, or a program, that is known."""

    name: str
    role: Role


class Users:
    """The known users. ``hashes`` has user and argon2 hash by name; ``token`` is that of programs, "" for none."""

    def __init__(self, hashes: Mapping[str, tuple[User, str]], token: str = "") -> None:
        self._hashes = dict(hashes)
        self._token = hashlib.sha256(token.encode()).digest() if token else None
        self._stand_in = _hash_for_nobody()
        self._checks = Semaphore(CHECKS_AT_ONCE)

    def check_password(self, name: str, password: str) -> User | None:
        """Return the user of this name and password; None takes as long, whether there is such a name or not."""
        user, stored = self._hashes.get(name, (None, self._stand_in))
        if len(password) > MAX_PASSWORD_CHARACTERS:
            return None
        with self._checks:
            try:
                hasher.verify(stored, password)
            except VerificationError:
                return None
        return user

    def check_token(self, token: str) -> User | None:
        """Return the user that stands for programs, if this is their token."""
        given = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        fits = self._token is not None and hmac.compare_digest(given, self._token)
        return User("program", "program") if fits else None


@cache
def _hash_for_nobody() -> str:
    """Make a hash that takes as long to check as that of a user."""
    return hasher.hash("of nobody")


def read_users(users: Path | None, token: Path | None) -> Users:
    """Read who may see the worklist.

    Args:
        users: a YAML list of ``name``, ``role`` and ``password`` (its argon2 hash); None for no users.
        token: a file that holds the token of programs; None for none.

    Returns:
        the users.

    Raises:
        UserError: a file cannot be read, can be changed by others, or holds something else; or there is neither file.
    """
    if users is None and token is None:
        raise UserError("nobody could use the worklist page; name web.users in the configuration, or set web.port to 0")
    return Users(_read_hashes(users) if users else {}, _read_token(token) if token else "")


def _read_hashes(path: Path) -> dict[str, tuple[User, str]]:
    refuse_open_file(path)
    entries = read_yaml(path, LIST_REMEDY)
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path} holds no list of users; {LIST_REMEDY}")
    found: dict[str, tuple[User, str]] = {}
    for number, entry in enumerate(entries, 1):
        where = f"{path}: user {number}"
        if not isinstance(entry, dict) or set(entry) != KEYS:
            raise UserError(f"{where} has other keys than name, role and password; {LIST_REMEDY}")
        name = _check_name(entry["name"], where)
        if entry["role"] not in ROLES:
            raise UserError(f"{where}: role is none of {', '.join(ROLES)}")
        if name in found:
            raise UserError(f"{where} has the name of an earlier one; give each user a name of their own")
        found[name] = User(name, entry["role"]), _check_hash(entry["password"], where)
    return found


def _check_name(name: Any, where: str) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARACTERS or not name.isprintable():
        raise UserError(f"{where}: name is no text of 1 to {MAX_NAME_CHARACTERS} printable characters")
    return name


def _check_hash(stored: Any, where: str) -> str:
    remedy = "make it with: python -m kicc_ml.service.web.users NAME ROLE"
    try:
        stated = extract_parameters(str(stored))
    except InvalidHashError:
        raise UserError(f"{where}: password is no argon2 hash; {remedy}") from None
    if stated.type is not Type.ID or stated.memory_cost > MOST_KIB or stated.time_cost > MOST_PASSES:
        raise UserError(f"{where}: password is no argon2id hash of usual cost; {remedy}")
    return str(stored)


def _read_token(path: Path) -> str:
    refuse_open_file(path)
    try:
        with path.open("rb") as file:
            token = file.read(MAX_TOKEN_BYTES + 1).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}; it holds the token of programs") from error
    if not MIN_TOKEN_CHARACTERS <= len(token) <= MAX_TOKEN_BYTES or any(one.isspace() for one in token):
        raise UserError(f"{path} holds no token of at least {MIN_TOKEN_CHARACTERS} characters; make one at random")
    return token


def make_entry(name: str, role: str, password: str) -> str:
    """Make the entry of a user for the file of users.

    Args:
        name: what the user types to log in.
        role: ``viewer`` or ``operator``.
        password: the password; only its hash is kept.

    Returns:
        lines of YAML.

    Raises:
        UserError: the role is unknown, or name or password too long or too short.
    """
    if role not in ROLES:
        raise UserError(f"role is none of {', '.join(ROLES)}")
    if not MIN_PASSWORD_CHARACTERS <= len(password) <= MAX_PASSWORD_CHARACTERS:
        raise UserError(f"a password has {MIN_PASSWORD_CHARACTERS} to {MAX_PASSWORD_CHARACTERS} characters")
    entry = {"name": _check_name(name, "the user"), "role": role, "password": hasher.hash(password)}
    return format_yaml([[entry]])


def main(arguments: list[str]) -> int:
    """Ask for a password and print the entry of a user."""
    if len(arguments) != 2 or "--help" in arguments:
        say(
            "usage: python -m kicc_ml.service.web.users NAME viewer|operator\n"
            "asks for a password and prints the entry of the user for the file that web.users names",
            to_stderr=True,
        )
        return 2
    if not sys.stdin.isatty():
        say("a password is typed in a terminal, and this is none; start the command in one", to_stderr=True)
        return 2
    password = getpass.getpass("Password: ")
    if password != getpass.getpass("Once more: "):
        say("the passwords differ", to_stderr=True)
        return 2
    try:
        say(make_entry(arguments[0], arguments[1], password).rstrip())
    except UserError as error:
        say(error, to_stderr=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
