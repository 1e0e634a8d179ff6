"""What is remembered of source files names nobody, and is believed only where it can be."""

import json
import os
import stat
from hashlib import blake2b
from pathlib import Path

import pytest

from kicc_ml.data import digests as module
from kicc_ml.data.digests import Digests


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "MARKERNAME_19510713" / "scan.nii.gz"
    path.parent.mkdir()
    path.write_bytes(b"content")
    return path


def test_the_list_holds_no_path_and_is_closed_to_others(tmp_path: Path, source: Path) -> None:
    with Digests(tmp_path) as digests:
        assert digests.of(source) == blake2b(b"content").hexdigest()
    written = tmp_path / "digests.json"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert not any(word in written.read_text() for word in ("MARKERNAME", "19510713", "scan", str(tmp_path)))


def test_an_unchanged_file_is_not_read_again(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Digests(tmp_path) as digests:
        known = digests.of(source)
    monkeypatch.setattr(module, "file_digest", lambda *_: pytest.fail("was read again"))
    with Digests(tmp_path) as digests:
        assert digests.of(source) == known


@pytest.mark.parametrize(
    "content",
    [b"[1]", b"1", b"null", b'"x"', b"{", b"", b"\xff\xfe", b"[" * 100_000, b'{"a": 1}', b'{"a": [1, 2, 3, "x"]}'],
)
def test_a_list_of_any_content_costs_a_second_reading_and_nothing_else(
    tmp_path: Path, source: Path, content: bytes
) -> None:
    (tmp_path / "digests.json").write_bytes(content)
    with Digests(tmp_path) as digests:
        assert digests.of(source) == blake2b(b"content").hexdigest()
    assert len(json.loads((tmp_path / "digests.json").read_text())) == 1


def test_entries_of_another_form_are_dropped_one_by_one(tmp_path: Path, source: Path) -> None:
    with Digests(tmp_path) as digests:
        digests.of(source)
    written = tmp_path / "digests.json"
    ((key, entry),) = json.loads(written.read_text()).items()
    wrong = {"0" * 32: entry[:3], "1" * 32: [*entry[:3], 4], "2" * 32: ["1", *entry[1:]], "3" * 32: {"a": 1}}
    written.write_text(json.dumps({key: entry, **wrong}))
    with Digests(tmp_path):
        pass
    assert json.loads(written.read_text()) == {key: entry}


def test_a_list_of_before_with_true_paths_is_replaced_and_closed(tmp_path: Path, source: Path) -> None:
    written = tmp_path / "digests.json"
    written.write_text(json.dumps({str(source): [1, 2, 3, "x"]}))
    os.chmod(written, 0o644)
    with Digests(tmp_path):
        pass
    assert written.read_text() == "{}"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
