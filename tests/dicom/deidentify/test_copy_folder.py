"""Who may write into a copy, under which key, and what a faulty target or manifest costs."""

import json
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from kicc_ml.apps.cli import app
from kicc_ml.core.errors import TargetError, UserError
from kicc_ml.core.pseudonym import load_repository_key
from kicc_ml.dicom.deidentify.manifest import MANIFEST, open_copy
from tests.support.exports import SERIES, change, contents, export, first_export
from tests.support.phantom_files import write_image

pytestmark = pytest.mark.usefixtures("cache_in_a_temporary_folder")


@pytest.mark.parametrize("how", ["the repository was moved", "the key was lost", "the key was exchanged"])
def test_another_key_is_refused_with_one_sentence_and_nothing_is_touched(source, tmp_path, keys, how):
    out = first_export(source, tmp_path / "out")
    before = contents(out)
    if how == "the repository was moved":
        source = source.rename(tmp_path / "moved")
    elif how == "the key was lost":
        shutil.rmtree(keys)
    else:
        (source / ".kicc-key").write_text("0123456789abcdef" * 4)
        (source / ".kicc-key").chmod(0o600)
    ran = export(source, out)
    assert isinstance(ran.exception, UserError)
    assert "was written under another key" in str(ran.exception)
    assert contents(out) == before


def test_the_key_laid_back_is_taken(source, tmp_path, keys):
    out = first_export(source, tmp_path / "out")
    moved = source.rename(tmp_path / "moved")
    (kept,) = keys.glob("[!.]*")
    shutil.copy2(kept, moved / ".kicc-key")
    assert export(moved, out).exit_code == 0


def test_a_further_source_is_added_to_a_copy_and_one_that_is_not_given_any_more_is_asked_for(source, tmp_path):
    other = tmp_path / "other"
    write_image(other / "busan" / "film", np.zeros((8, 8), np.uint16), SOPClassUID="1.2.840.10008.5.1.4.1.1.1")
    change(other / "busan" / "film", Modality="CR")
    out = first_export(source, tmp_path / "out")
    both = CliRunner().invoke(app, ["export-dataset", str(source), str(other), "-o", str(out)])
    assert both.exit_code == 0
    assert len(list(out.rglob("*.dcm"))) == 13
    assert isinstance(export(other, out).exception, UserError)
    assert len(list(out.rglob("*.dcm"))) == 13


@pytest.mark.parametrize("target", ["file", "file/below", "read-only"])
def test_a_fault_of_the_target_is_never_blamed_on_a_source(source, tmp_path, target, monkeypatch):
    (tmp_path / "file").write_text("mine")
    if target == "read-only":  # root may write anywhere
        monkeypatch.setattr("kicc_ml.core.files.os.replace", _refuse)
    ran = export(source, tmp_path / target)
    assert isinstance(ran.exception, TargetError)
    assert "cannot be read" not in ran.output + str(ran.exception)
    assert (tmp_path / "file").read_text() == "mine"


def _refuse(*_: object) -> None:
    raise PermissionError(30, "Read-only file system")


def test_a_folder_with_other_things_in_it_is_no_target(source, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("mine")
    ran = export(source, tmp_path / "thesis")
    assert isinstance(ran.exception, UserError)
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]


@pytest.mark.parametrize("name", ["../victim", "seoul/../../victim", "/victim", "", "seoul//x"])
def test_a_manifest_that_was_tampered_with_takes_nothing_away_elsewhere(source, tmp_path, name):
    out = first_export(source, tmp_path / "out")
    victim = tmp_path / "victim" / "thesis.dcm"
    victim.parent.mkdir()
    victim.write_text("mine")
    manifest = json.loads((out / MANIFEST).read_text())
    manifest["folders"][name] = {}
    (out / MANIFEST).write_text(json.dumps(manifest))
    assert isinstance(export(source, out).exception, UserError)
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"format": 1, "keys": 3, "folders": {}}', "[" * 10_000])
def test_a_damaged_manifest_is_one_sentence(source, tmp_path, content):
    out = first_export(source, tmp_path / "out")
    (out / MANIFEST).write_text(content)
    ran = export(source, out)
    assert isinstance(ran.exception, UserError)
    assert "is damaged" in str(ran.exception)


def test_a_second_export_into_the_same_copy_is_told_who_writes_it(source, tmp_path):
    out = tmp_path / "out"
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold_copy, args=(out, ready, done))
    other.start()
    try:
        assert ready.wait(60)
        ran = export(source, out)
    finally:
        done.set()
        other.join()
    assert isinstance(ran.exception, UserError)
    assert f"is being written by process {other.pid}" in str(ran.exception)


def _hold_copy(out: Path, ready, done) -> None:
    with open_copy(out, [b"key"]):
        ready.set()
        done.wait(60)


def test_nothing_of_the_source_is_in_the_manifest(source, tmp_path):
    out = first_export(source, tmp_path / "out")
    manifest = (out / MANIFEST).read_text()
    for secret in ("A-17", SERIES, str(source), "20200301", load_repository_key(source).decode()):
        assert secret not in manifest
