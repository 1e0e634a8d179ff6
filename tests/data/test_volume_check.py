"""A stored volume is believed only as it was written; what is damaged is named and prepared again."""

import json
import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kicc_ml.core.errors import TargetError, UserError
from kicc_ml.core.locks import hold
from kicc_ml.core.types import Case
from kicc_ml.data import volume_check
from kicc_ml.data.store import VolumeStore
from tests.support.stored_cases import CANONICAL, folders, make_case


def inverted(path: Path) -> None:
    """Every byte behind the header is another one, size and date stay."""
    before = path.stat()
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    content[128:] ^= 0xFF
    path.write_bytes(content.tobytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def another_affine(path: Path) -> None:
    meta = json.loads(path.read_text())
    meta["affine_ras"][0][0] *= 2
    path.write_text(json.dumps(meta))


def no_digests(path: Path) -> None:
    meta = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in meta.items() if key not in ("arrays", "crc32")}))


DAMAGE: list[tuple[str, Callable[[Path], None]]] = [
    ("image.npy", inverted),
    ("image.npy", one_bit),
    ("image.npy", halved),
    ("image.npy", emptied),
    ("image.npy", Path.unlink),
    ("regions.npy", inverted),
    ("regions.npy", Path.unlink),
    ("lesion_index.npy", one_bit),
    ("meta.json", emptied),
    ("meta.json", halved),
    ("meta.json", another_affine),
    ("meta.json", no_digests),
    ("meta.json", lambda path: path.write_text("[1]")),
    ("meta.json", lambda path: path.write_bytes(b"\xff\xfe")),
    ("meta.json", Path.unlink),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGE, ids=lambda value: getattr(value, "__name__", value))
def test_a_damaged_volume_is_refused_by_name_and_prepared_again_as_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, damage: Callable[[Path], None]
) -> None:
    case, store = make_case(tmp_path, "1", ("lesion",)), VolumeStore(tmp_path / "store")
    store.prepare([case], CANONICAL)
    folder = store.load([case], CANONICAL)["1"].folder
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    damage(folder / name)
    with pytest.raises(UserError, match=rf"{folder.name} is damaged \({name}.*start again, and it is prepared anew"):
        store.load([case], CANONICAL)
    assert store.prepare([case], CANONICAL) == {}
    assert f"{folder} is damaged ({name}" in caplog.text
    assert store.load([case], CANONICAL)["1"].folder == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole


def test_volumes_are_read_for_the_check_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [make_case(tmp_path, name, ("lesion",)) for name in "12"]
    store = VolumeStore(tmp_path / "store")
    store.prepare(cases, CANONICAL)
    store.load(cases, CANONICAL)
    monkeypatch.setattr(volume_check, "crc32", lambda *_: pytest.fail("was read again"))
    assert set(store.load(cases, CANONICAL)) == {"1", "2"}
    assert store.prepare(cases, CANONICAL) == {}


def test_what_is_damaged_stays_open_to_who_reads_it_and_goes_a_day_later(tmp_path: Path) -> None:
    case, store = make_case(tmp_path, "1", ("lesion",)), VolumeStore(tmp_path / "store")
    store.prepare([case], CANONICAL)
    volume = store.load([case], CANONICAL)["1"]
    reader = volume.image_cxyz
    one_bit(volume.folder / "regions.npy")
    store.prepare([case], CANONICAL)
    np.testing.assert_array_equal(reader, volume.image_cxyz)
    (aside,) = (folder for folder in folders(store.root) if folder.name.startswith("."))
    assert (aside / "image.npy").exists()
    os.utime(aside, (0, 0))
    store.prepare([case], CANONICAL)
    assert folders(store.root) == [volume.folder]


def test_a_damaged_volume_is_replaced_by_one_process_at_a_time(tmp_path: Path) -> None:
    """The second would else move away what the first has just written, while a third relies on it."""
    case, store = make_case(tmp_path, "1", ("lesion",)), VolumeStore(tmp_path / "store")
    store.prepare([case], CANONICAL)
    (good,) = folders(store.root)
    kept = shutil.copytree(good, tmp_path / "kept")
    halved(good / "image.npy")
    second = threading.Thread(target=lambda: VolumeStore(store.root).prepare([case], CANONICAL))
    with hold(good.with_name(f".{good.name}.lock"), "the volume that the first process replaces"):
        second.start()
        second.join(1.5)
        assert second.is_alive(), "it did not wait"
        shutil.rmtree(good)
        written = kept.rename(good).stat().st_ino
    second.join(60)
    assert [folder.stat().st_ino for folder in folders(store.root)] == [written]


def prepare_many_times(root: Path, cases: list[Case], started: "multiprocessing.synchronize.Barrier") -> None:
    for turn in range(6):
        started.wait(60)
        store = VolumeStore(root / str(turn))
        assert store.prepare(cases, CANONICAL) == {}
        assert len(store.load(cases, CANONICAL)) == len(cases)


@pytest.mark.slow
def test_processes_that_prepare_the_same_volumes_do_not_disturb_each_other(tmp_path: Path) -> None:
    cases = [make_case(tmp_path, name, ("lesion",)) for name in "123"]
    first = VolumeStore(tmp_path / "0")
    first.prepare(cases, CANONICAL)
    for volume in first.load(cases, CANONICAL).values():
        halved(volume.folder / "image.npy")  # in the first turn, both also find it damaged
    context = multiprocessing.get_context(
        "spawn"
    )  # a fork of a process that has used several threads may hang in PyTorch
    started = context.Barrier(2)
    both = [context.Process(target=prepare_many_times, args=(tmp_path, cases, started)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]


def test_a_store_that_is_a_file_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("mine")
    with pytest.raises(TargetError, match=r"cannot make the store .*store: .*; choose another folder"):
        VolumeStore(tmp_path / "store").prepare([make_case(tmp_path, "1")], CANONICAL)
    assert (tmp_path / "store").read_text() == "mine"
