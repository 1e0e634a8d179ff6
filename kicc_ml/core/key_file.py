"""Read the key of pseudonyms from a file, and refuse a key that is not safe.

Somebody who knows or guesses the key can try all patient numbers within minutes. A key therefore has at least 32 random
bytes, in a file of its own that only its owner can read and that is not a link.
"""

import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from kicc_ml.core.errors import UserError
from kicc_ml.core.help_pages import KEY

MIN_BYTES, MAX_BYTES = 32, 4096
#: Random bytes repeat few of their values: of 32 of them about 30 differ, of 64 hexadecimal digits nearly all 16.
MIN_DIFFERENT, MIN_DIFFERENT_DIGITS = 20, 8
HEXADECIMAL, BASE64 = re.compile(rb"[0-9a-fA-F]+"), re.compile(rb"[0-9a-zA-Z+/_\r\n-]+=*")


def read_key(path: Path) -> bytes:
    """Read the key from a file. White space around a key that is written as text is dropped.

    Raises:
        UserError: the file is not a regular file of this user, others can read it, or it holds less than 32 random
            bytes.
    """
    try:
        # no link is followed, and a pipe does not keep us waiting
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        fault = "it is a link" if path.is_symlink() else f"it cannot be read ({error.strerror})"
        raise _make_refusal(path, fault) from error
    try:
        if fault := _find_file_fault(os.fstat(descriptor)):
            raise _make_refusal(path, fault)
        content = os.read(descriptor, MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    key = content.strip() if content.isascii() else content  # white space is part of a key in raw bytes
    if fault := _find_key_fault(key):
        raise _make_refusal(path, fault)
    return key


def find_key(folder: Path, is_wanted: Callable[[bytes], bool]) -> Path | None:
    """Find the file in a folder whose key is the wanted one; None if there is no such file."""
    for path in sorted(folder.glob("[!.]*")):
        with suppress(UserError):
            if is_wanted(read_key(path)):
                return path
    return None


def _find_file_fault(status: os.stat_result) -> str:
    if not stat.S_ISREG(status.st_mode):
        return "it is no regular file"
    if status.st_uid != os.geteuid():
        return "it belongs to another user"
    if status.st_mode & 0o077:
        return "other users can read or change it (chmod 600, if nobody did)"
    return ""


def _find_key_fault(key: bytes) -> str:
    digits = HEXADECIMAL.fullmatch(key) is not None
    if not key:
        return "it is empty"
    bits = 4 if digits else 6 if key.isascii() else 8
    if len(key.rstrip(b"=")) * bits < 8 * MIN_BYTES:
        return f"it holds less than {MIN_BYTES} random bytes"
    if len(key) > MAX_BYTES:
        return f"it holds more than {MAX_BYTES} bytes"
    if len(set(key)) < (MIN_DIFFERENT_DIGITS if digits else MIN_DIFFERENT):
        return "its bytes are not random"
    if key.isascii() and not BASE64.fullmatch(key):
        return "it is a text and no random bytes"  # of 32 random bytes hardly ever all are ASCII
    return ""


def _make_refusal(path: Path, fault: str) -> UserError:
    return UserError(
        f"{path} is no safe key of pseudonyms: {fault}; a key is a file of yours alone with at least {MIN_BYTES} "
        f"random bytes, made by: (umask 077; openssl rand -hex {MIN_BYTES} > FILE)",
        page=KEY,
    )
