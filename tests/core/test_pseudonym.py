"""One key per repository; what it gives out cannot be turned back, and a source is never written to."""

import hashlib
import hmac
import stat
from pathlib import Path

import pytest

from kicc_ml.core.pseudonym import pseudonym, repository_key, shift_days


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
    assert pseudonym(b"key", "seoul", "00123") == expected


def test_the_same_number_at_two_hospitals_is_two_patients():
    assert pseudonym(b"key", "seoul", "00123") != pseudonym(b"key", "busan", "00123")


def test_parts_cannot_be_shifted_between_site_and_number():
    assert pseudonym(b"key", "seoul1", "23") != pseudonym(b"key", "seoul", "123")


def test_another_key_gives_another_pseudonym():
    assert pseudonym(b"key", "seoul", "00123") != pseudonym(b"yek", "seoul", "00123")


def test_a_key_laid_in_the_repository_is_the_one_used(repository: Path, keys: Path):
    (repository / ".kicc-key").write_text("of the consortium\n")
    assert repository_key(repository) == b"of the consortium"
    assert not keys.exists()


def test_a_key_that_has_to_be_made_is_kept_for_the_user_and_not_in_the_source(repository: Path, keys: Path):
    first = repository_key(repository)
    assert repository_key(repository) == first
    assert list(repository.iterdir()) == []
    (kept,) = keys.iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert len(first) == 64


def test_two_repositories_have_two_keys(tmp_path: Path, keys: Path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    assert repository_key(tmp_path / "one") != repository_key(tmp_path / "other")


def test_a_repository_has_one_key_by_whatever_path_it_is_reached(
    repository: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
):
    straight = repository_key(repository)
    monkeypatch.chdir(repository)
    assert repository_key(Path(".")) == straight
    (repository.parent / "link").symlink_to(repository)
    assert repository_key(repository.parent / "link") == straight


def test_a_process_that_comes_second_takes_the_key_of_the_first(
    repository: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
):
    def made_meanwhile(length: int) -> str:
        name = hashlib.sha256(str(repository.resolve()).encode()).hexdigest()[:16]
        (keys / name).write_bytes(b"of the first")
        return "of the second"

    monkeypatch.setattr("kicc_ml.core.pseudonym.secrets.token_hex", made_meanwhile)
    assert repository_key(repository) == b"of the first"
    assert [path.read_bytes() for path in keys.iterdir()] == [b"of the first"]


def test_days_of_shift_are_the_patients_own_and_never_none():
    shifts = {number: shift_days(b"key", f"patient {number}") for number in range(2000)}
    assert all(-365 <= days <= -1 for days in shifts.values())
    assert len(set(shifts.values())) > 350
    assert shifts == {number: shift_days(b"key", f"patient {number}") for number in range(2000)}
    assert shifts != {number: shift_days(b"yek", f"patient {number}") for number in range(2000)}
