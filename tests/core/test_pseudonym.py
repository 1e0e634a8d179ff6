"""One key per repository; what it gives out cannot be turned back, and a source is never written to."""

import base64
import hashlib
import hmac
import os
import secrets
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from threading import Event

import pytest

from kicc_ml.core.errors import UserError
from kicc_ml.core.pseudonym import (
    NEW_KEY_BYTES,
    check_key,
    coarsen_time,
    compute_key_fingerprint,
    compute_shift_days,
    load_repository_key,
    make_pseudonym,
)


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home" / "keys"
    monkeypatch.setenv("KICC_KEYS", str(folder))
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "repository").mkdir()
    return tmp_path / "repository"


def test_a_pseudonym_is_the_first_twelve_digits_of_hmac_sha256_under_the_key():
    expected = hmac.new(b"key", b"seoul\x1f00123", hashlib.sha256).hexdigest()[:12]
    assert make_pseudonym(b"key", "seoul", "00123") == expected


def test_the_same_number_at_two_hospitals_is_two_patients():
    assert make_pseudonym(b"key", "seoul", "00123") != make_pseudonym(b"key", "busan", "00123")


def test_parts_cannot_be_shifted_between_site_and_number():
    assert make_pseudonym(b"key", "seoul1", "23") != make_pseudonym(b"key", "seoul", "123")


def test_another_key_gives_another_pseudonym():
    assert make_pseudonym(b"key", "seoul", "00123") != make_pseudonym(b"yek", "seoul", "00123")


def test_a_key_laid_in_the_repository_is_the_one_used(repository: Path, keys: Path):
    lay_key(repository, "0123456789abcdef" * 4 + "\n")
    assert load_repository_key(repository) == b"0123456789abcdef" * 4
    assert not keys.exists()


def test_a_key_that_has_to_be_made_is_kept_for_the_user_and_not_in_the_source(repository: Path, keys: Path):
    first = load_repository_key(repository)
    assert load_repository_key(repository) == first
    assert list(repository.iterdir()) == []
    (kept,) = keys.glob("[!.]*")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert len(first) == 64


def test_two_repositories_have_two_keys(tmp_path: Path, keys: Path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    assert load_repository_key(tmp_path / "one") != load_repository_key(tmp_path / "other")


def test_a_repository_has_one_key_by_whatever_path_it_is_reached(
    repository: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
):
    straight = load_repository_key(repository)
    monkeypatch.chdir(repository)
    assert load_repository_key(Path(".")) == straight
    (repository.parent / "link").symlink_to(repository)
    assert load_repository_key(repository.parent / "link") == straight


def test_processes_that_start_together_take_one_key(repository: Path, keys: Path):
    code = "import sys; from pathlib import Path; from kicc_ml.core.pseudonym import load_repository_key as key; "
    code += "sys.stdin.read(1); print(key(Path(sys.argv[1])).decode())"
    command = [sys.executable, "-c", code, str(repository)]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = {process.communicate("x")[0] for process in started}
    assert len(answers) == 1
    assert len(answers.pop().strip()) == 64
    assert len(list(keys.glob("[!.]*"))) == 1


def test_a_second_thread_waits_until_the_first_has_made_the_key(
    repository: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
):
    second_made, made = Event(), []

    def make(count: int | None = None) -> str:
        if count != NEW_KEY_BYTES:  # the lock asks too
            return token_hex(count)
        made.append(count)
        if len(made) == 1:
            second_made.wait(0.3)  # in vain, since the second waits for the lock
        else:
            second_made.set()
        return token_hex(count)

    token_hex = secrets.token_hex
    monkeypatch.setattr(secrets, "token_hex", make)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(load_repository_key, [repository] * 2)
    assert (first, len(made)) == (second, 1)


def test_a_file_system_without_hard_links_holds_keys_too(repository: Path, keys: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert load_repository_key(repository) == load_repository_key(repository)


def lay_key(repository: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path = repository / ".kicc-key"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "it is empty"),
        (b"\n", "it is empty"),
        (b" \r\n\t", "it is empty"),
        (b"a", "less than 32 random bytes"),
        (b"of the consortium\n", "less than 32 random bytes"),
        (b"a sentence that is longer than thirty-two bytes", "its bytes are not random"),
        (b"-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A\n", "it is a text"),
        (b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP", "less than 32 random bytes"),  # 42 digits of base64: 31 bytes
        ("0123456789abcdef".encode("utf-16"), "its bytes are not random"),
        (b"0123456789abcdef" * 2, "less than 32 random bytes"),  # 16 bytes in hexadecimal digits
        (b"fEdCbA9876543210" * 3 + b"01234567", "less than 32 random bytes"),  # 28 bytes: digits hold four bits each
        (b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP=", "less than 32 random bytes"),  # what fills up is no byte
        pytest.param(secrets.token_bytes(31), "less than 32 random bytes", id="31 random bytes"),
        (b"a" * 64, "its bytes are not random"),
        (bytes(64), "its bytes are not random"),
        pytest.param(secrets.token_bytes(5000), "it holds more than", id="5000 random bytes"),
    ],
)
def test_what_can_be_guessed_is_no_key(repository: Path, keys: Path, content: bytes, fault: str):
    path = lay_key(repository, content)
    with pytest.raises(UserError, match=f"{path} is no safe key .*{fault}.*openssl rand -hex 32"):
        load_repository_key(repository)
    assert not keys.exists()  # no other key is taken silently


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o606, 0o620, 0o602, 0o610])
def test_a_key_that_others_can_read_or_change_is_refused(repository: Path, keys: Path, mode: int):
    lay_key(repository, secrets.token_hex(32), mode)
    with pytest.raises(UserError, match="other users can read or change it"):
        load_repository_key(repository)


@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "pipe"])
def test_what_is_no_regular_file_is_no_key(repository: Path, keys: Path, kind: str):
    path = repository / ".kicc-key"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path, 0o600)
    else:
        target = repository / "elsewhere"
        if kind == "link":
            target.write_text(secrets.token_hex(32))
            target.chmod(0o600)
        path.symlink_to(target)
    with pytest.raises(UserError, match="it is a link" if "link" in kind else "it is no regular file|cannot be read"):
        load_repository_key(repository)
    assert not keys.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file away")
def test_a_key_of_another_user_is_refused(repository: Path, keys: Path):
    os.chown(lay_key(repository, secrets.token_hex(32)), 12345, 12345)
    with pytest.raises(UserError, match="it belongs to another user"):
        load_repository_key(repository)


def test_a_key_kept_for_the_user_is_held_to_the_same(repository: Path, keys: Path):
    load_repository_key(repository)
    (kept,) = keys.glob("[!.]*")
    kept.write_bytes(b"")
    with pytest.raises(UserError, match="it is empty"):
        load_repository_key(repository)


def test_a_link_to_nowhere_in_the_place_of_a_kept_key_is_refused_and_not_replaced(repository: Path, keys: Path):
    load_repository_key(repository)
    (kept,) = keys.glob("[!.]*")
    kept.unlink()
    kept.symlink_to(repository / "elsewhere")
    with pytest.raises(UserError, match="it is a link"):
        load_repository_key(repository)
    assert kept.is_symlink()


@pytest.mark.parametrize("encode", [bytes.hex, base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes])
@pytest.mark.parametrize("count", [32, 33, 64])
def test_random_bytes_are_a_key_in_any_usual_writing(repository: Path, keys: Path, encode, count: int):
    written = encode(secrets.token_bytes(count))
    lay_key(repository, written)
    assert load_repository_key(repository) == (written if isinstance(written, bytes) else written.encode()).strip()


def test_thirty_two_random_bytes_are_a_key_whatever_they_are(repository: Path, keys: Path):
    raw = b"\n " + bytes(range(200, 228)) + b"\n\n"  # white space at the ends is part of it
    lay_key(repository, raw)
    assert load_repository_key(repository) == raw
    text = "Zm9yIHRoZSBjb25zb3J0aXVtIG9mIGhvc3BpdGFscyE="
    lay_key(repository, text + "\r\n")
    assert load_repository_key(repository) == text.encode()


def test_the_folder_of_keys_is_open_to_its_owner_alone(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("KICC_KEYS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / ".config" / "kicc_ml" / "keys"
    folder.mkdir(parents=True, mode=0o755)  # as earlier versions made it
    load_repository_key(repository)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_named_folder_that_others_may_enter_is_refused_and_not_changed(repository: Path, keys: Path):
    keys.mkdir(parents=True)
    keys.chmod(0o755)
    with pytest.raises(UserError, match=f"chmod 700 {keys}"):
        load_repository_key(repository)
    assert stat.S_IMODE(keys.stat().st_mode) == 0o755
    assert not list(keys.iterdir())


def test_another_key_is_refused_and_the_right_one_found_among_those_that_are_kept(
    tmp_path: Path, repository: Path, keys: Path
):
    key = load_repository_key(repository)
    (kept,) = keys.glob("[!.]*")
    repository.rename(tmp_path / "moved")
    other = load_repository_key(tmp_path / "moved")
    assert other != key
    with pytest.raises(UserError, match=f"{tmp_path} was written under another key.*it is {kept}"):
        check_key(compute_key_fingerprint(key), other, tmp_path)
    check_key(compute_key_fingerprint(other), other, tmp_path)
    check_key("", other, tmp_path)  # an earlier version did not say


def test_a_moved_time_tells_the_hour_and_no_more():
    time = datetime(2020, 3, 4, 15, 59, 59, 999999)
    moved = coarsen_time(b"key", "patient", time)
    assert (moved.hour, moved.minute, moved.second, moved.microsecond) == (15, 0, 0, 0)
    assert (moved.date() - time.date()).days == compute_shift_days(b"key", "patient")


def test_days_of_shift_are_the_patients_own_and_never_none():
    shifts = {number: compute_shift_days(b"key", f"patient {number}") for number in range(2000)}
    assert all(-365 <= days <= -1 for days in shifts.values())
    assert len(set(shifts.values())) > 350
    assert shifts == {number: compute_shift_days(b"key", f"patient {number}") for number in range(2000)}
    assert shifts != {number: compute_shift_days(b"yek", f"patient {number}") for number in range(2000)}
