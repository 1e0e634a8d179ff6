"""A DICOMweb service is indexed and read like a folder; the service is a real Orthanc unless it has to misbehave."""

import logging
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pydicom
import pytest
import requests
from pydicom.uid import generate_uid

from kicc_ml.core.errors import UserError
from kicc_ml.core.pseudonym import load_repository_key, load_service_key, make_pseudonym
from kicc_ml.core.types import Series
from kicc_ml.dicom.header.read import read_headers
from kicc_ml.dicom.index.build import index_repository, index_sources
from kicc_ml.dicom.index.table import make_undated_index_table
from kicc_ml.dicom.volume.read import read_volume
from kicc_ml.dicom.web import service as web
from kicc_ml.dicom.web.service import fetch, index_web
from kicc_ml.synthetic.repository import synthesize
from tests.support.orthanc import PASSWORD, USER, Orthanc, running_orthanc
from tests.support.phantom_files import write_enhanced
from tests.support.phantoms import Grid, even_mm

pytestmark = pytest.mark.usefixtures("short_pauses")

SITE = "daegu-1"

#: What the metadata of Orthanc 1.10 does not tell, and what names the place a series lies at.
DIFFERS = {"files", "origin", "transfer_syntax"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One hospital of four patients with the habits of all: localizers, dose pages, doubled slices."""
    root = tmp_path_factory.mktemp("repository")
    synthesize(root, "demo", seed=3, matrix=32, slices=12, patients=4, sites=1)
    return root


@pytest.fixture(scope="module")
def pushed(orthanc: Orthanc, repository: Path) -> Orthanc:
    orthanc.store(sorted(path for path in (repository / SITE).rglob("*") if path.is_file()))
    return orthanc


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A netrc that lets this user in."""
    write_netrc(tmp_path / "netrc", PASSWORD, monkeypatch)


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses asked for from now on, in order."""
    asked: list[str] = []
    get = requests.Session.get

    def counting(self: requests.Session, url: str, **kwargs: object) -> requests.Response:
        asked.append(url)
        return get(self, url, **kwargs)

    monkeypatch.setattr(requests.Session, "get", counting)
    return asked


def write_netrc(path: Path, password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(f'machine 127.0.0.1 login {USER} password "{password}"\n')
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))


def objects(urls: list[str]) -> list[str]:
    """The requests for a whole object."""
    return [url for url in urls if "/instances/" in url and not url.endswith("/metadata")]


def uids(root: Path) -> set[str]:
    """Every UID, patient id and part of a name that the files under ``root`` hold."""
    found = set()
    for path in root.rglob("*"):
        if path.is_file() and (dataset := pydicom.dcmread(path, stop_before_pixels=True)):
            found |= {dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID, dataset.PatientID}
            found |= set(str(dataset.PatientName).replace("=", "^").split("^")) - {""}
    return found


@pytest.mark.usefixtures("known")
def test_a_hospital_pushed_by_stow_is_indexed_as_from_disk(
    pushed: Orthanc, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    key = load_repository_key(repository)
    monkeypatch.setattr(web, "load_service_key", lambda url: key)  # the same pseudonyms on both sides
    from_web, _ = index_web(pushed.url, cache=tmp_path / "cache", site=SITE)
    from_disk = index_repository(repository)
    assert {one.modality for one in from_disk} == {"CT", "CXR"}
    other = {one.uid: one for one in from_web}
    assert other.keys() == {one.uid for one in from_disk}
    for one in from_disk:
        for name in {one.name for one in fields(Series)} - DIFFERS:
            assert without_doubles(getattr(other[one.uid], name)) == without_doubles(getattr(one, name)), name
        assert [path.stem for path in other[one.uid].files] == [sop(path, key) for path in one.files]


def without_doubles(value: object) -> object:
    """Reasons less that of an object filed twice, which is one object on a service."""
    return tuple(one for one in value if one != "duplicate_slice") if isinstance(value, tuple) else value


def sop(path: Path, key: bytes) -> str:
    return make_pseudonym(key, pydicom.dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)


@pytest.mark.usefixtures("known")
def test_volumes_read_from_the_service_equal_those_from_disk(
    pushed: Orthanc, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    key = load_repository_key(repository)
    monkeypatch.setattr(web, "load_service_key", lambda url: key)
    usable = {one.uid: one for one in index_web(pushed.url, cache=tmp_path / "cache", site=SITE)[0] if one.usable}
    assert len(usable) >= 6
    for from_disk in (one for one in index_repository(repository) if one.usable):
        here, there = read_volume(usable[from_disk.uid]), read_volume(from_disk)
        np.testing.assert_array_equal(here.array, there.array)
        np.testing.assert_array_equal(here.affine_ras, there.affine_ras)
        assert syntaxes(usable[from_disk.uid]) == syntaxes(from_disk), "transcoded on the way"


def syntaxes(series: Series) -> list[str]:
    return [pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID for path in series.files]


@pytest.mark.usefixtures("known")
def test_an_index_asks_for_no_object_but_those_at_one_place(
    orthanc: Orthanc, tmp_path: Path, write_ct: Callable[..., list[Path]], requested: list[str]
):
    series_uid = generate_uid()
    again = {"SeriesInstanceUID": series_uid, "PatientID": "of two slices at one place"}
    orthanc.store(write_ct((0, 5, 10, 15, 20), **again) + write_ct((0,), name="again", **again))
    requested.clear()
    series, rows = index_web(orthanc.url, cache=tmp_path / "cache", site="busan")
    (mine,) = [one for one in series if one.uid == make_pseudonym(load_service_key(orthanc.url), series_uid)]
    assert (mine.slices, mine.verdict, mine.reasons) == (5, "repaired", ("duplicate_slice",))
    assert len([url for url in objects(requested) if series_uid in url]) == 2
    assert [row.reason for row in rows if row.path.parent == mine.files[0].parent] == ["duplicate_slice"]


@pytest.fixture
def scan(orthanc: Orthanc, tmp_path: Path, write_ct: Callable[..., list[Path]], known: None) -> Series:
    """A CT of twelve slices on the service, indexed and not fetched."""
    uid = generate_uid()
    orthanc.store(write_ct([5 * k for k in range(12)], StudyInstanceUID=generate_uid(), SeriesInstanceUID=uid))
    series, _ = index_web(orthanc.url, cache=tmp_path / "cache", site="busan")
    return next(one for one in series if one.uid == make_pseudonym(load_service_key(orthanc.url), uid))


def test_an_interrupted_fetch_asks_only_for_what_is_missing(
    scan: Series, requested: list[str], monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        send = requests.Session.send

        def failing(self: requests.Session, request: requests.PreparedRequest, **kwargs: object) -> requests.Response:
            if len(objects(requested)) > 5:
                raise requests.ConnectionError("cut")
            return send(self, request, **kwargs)

        patch.setattr(requests.Session, "send", failing)
        with pytest.raises(UserError, match="does not answer"):
            fetch(scan)
    there = [path for path in scan.files if path.exists()]
    assert 0 < len(there) < 12
    requested.clear()
    fetch(scan)
    assert len(objects(requested)) == 12 - len(there)
    assert read_volume(scan).array[0, 0].tolist() == list(range(-24, -12)), "stored 1000 + k, intercept -1024"
    requested.clear()
    fetch(scan)
    assert requested == []


KILLED = """
import pickle, os, signal, sys, requests
from kicc_ml.dicom.web.service import fetch
get, asked = requests.Session.get, []
def dying(self, url, **kwargs):
    asked.append(url)
    if len(asked) > 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return get(self, url, **kwargs)
requests.Session.get = dying
fetch(pickle.load(sys.stdin.buffer))
"""


def test_a_fetch_that_was_killed_leaves_whole_files_and_is_taken_up(scan: Series, requested: list[str]):
    killed = subprocess.run([sys.executable, "-c", KILLED], input=pickle.dumps(scan), env=os.environ)
    assert killed.returncode == -signal.SIGKILL
    there = [path for path in scan.files if path.exists()]
    assert 0 < len(there) < 12
    faults = {header.fault for path in there for header in read_headers(path.parent, path.name, "", b"")}
    assert faults == {""}
    fetch(scan)
    assert len(objects(requested)) == 12 - len(there)
    assert read_volume(scan).array.shape == (8, 6, 12)


@pytest.mark.parametrize("password", [None, "wrong"])
def test_who_is_not_let_in_reads_how_to_sign_in(
    orthanc: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str | None
):
    monkeypatch.setenv("NETRC", os.devnull)
    if password:
        write_netrc(tmp_path / "netrc", password, monkeypatch)
    with pytest.raises(UserError, match=r"answers 401.*netrc.*KICC_DICOMWEB_AUTHORIZATION") as caught:
        index_web(orthanc.url, cache=tmp_path / "cache")
    assert orthanc.url in str(caught.value)


def test_the_header_of_the_environment_goes_before_netrc(
    scan: Series, orthanc: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_netrc(tmp_path / "netrc", "wrong", monkeypatch)
    prepared = requests.Request("GET", orthanc.url, auth=(USER, PASSWORD)).prepare()
    monkeypatch.setenv("KICC_DICOMWEB_AUTHORIZATION", prepared.headers["Authorization"])
    monkeypatch.setenv("KICC_DICOMWEB_HOST", "127.0.0.1")
    fetch(scan)
    assert all(path.exists() for path in scan.files)


def test_no_name_and_no_uid_is_in_a_log_an_error_or_the_index(
    scan: Series,
    pushed: Orthanc,
    repository: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    requested: list[str],
):
    caplog.set_level(logging.DEBUG)
    series, rows = index_web(pushed.url, cache=tmp_path / "cache")
    for one in series:
        fetch(one)
    frame = make_undated_index_table(series, rows)
    said = caplog.text + frame.to_csv() + repr(series)
    known = uids(repository / SITE)
    assert any(secret in "".join(requested) for secret in known), "nothing to look for"
    assert {secret for secret in known if secret in said} == set()
    assert set(frame["site"]) == {"127.0.0.1"}, "the institution's name must not stand for it"


def test_an_address_is_a_source_of_the_index_like_a_folder(
    scan: Series, orthanc: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    series, _ = index_sources([orthanc.url])
    (mine,) = [one for one in series if one.uid == scan.uid]
    assert (mine.site, mine.verdict, mine.spacing_mm) == ("127.0.0.1", "usable", scan.spacing_mm)
    assert mine.files[0].is_relative_to(tmp_path / "home" / "kicc_ml" / "dicomweb")


def test_the_cache_is_closed_to_others(scan: Series, tmp_path: Path):
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


def test_a_series_that_is_gone_from_the_service_says_so(scan: Series):
    (scan.files[0].parent / "uids.json").unlink()
    with pytest.raises(UserError, match="index the DICOMweb service again"):
        fetch(scan)


@pytest.mark.usefixtures("known")
def test_frames_of_an_enhanced_object_are_found_in_its_metadata(orthanc: Orthanc, tmp_path: Path):
    order = (2, 0, 3, 1, 4)
    path = write_enhanced(tmp_path / "enhanced", Grid(even_mm(5)), order)
    orthanc.store([path])
    key = load_service_key(orthanc.url)
    series, _ = index_web(orthanc.url, cache=tmp_path / "cache")
    (one,) = [one for one in series if one.files[0].stem == sop(path, key)]
    assert (one.verdict, one.slices, len(one.files)) == ("usable", 5, 1)
    assert [order[frame] for frame in one.frames] == [0, 1, 2, 3, 4]


@pytest.fixture
def brief(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """Orthanc set to answer with main tags where a whole series is asked for."""
    with running_orthanc(tmp_path_factory.mktemp("brief"), SeriesMetadata="MainDicomTags") as running:
        yield running


@pytest.mark.usefixtures("known")
def test_a_service_that_gives_main_tags_of_a_series_is_asked_for_each_instance(
    brief: Orthanc, tmp_path: Path, write_ct: Callable[..., list[Path]]
):
    brief.store(write_ct())
    ((one,), _) = index_web(brief.url, cache=tmp_path / "cache")
    assert (one.verdict, one.slices, one.spacing_mm) == ("usable", 5, (0.5, 0.7, 5.0))
