"""A test run leaves nothing with the user who starts it."""

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings

from tests.support.orthanc import Orthanc, running_orthanc
from tests.support.slurm import Slurm, running_slurm

#: The same examples every time, so that no test fails now and then; ``--hypothesis-profile=search`` draws many others.
#: No deadline: a busy machine is no fault.
COMMON = {"deadline": None, "database": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("fixed", derandomize=True, max_examples=60, **COMMON)
settings.register_profile("search", max_examples=3000, print_blob=True, **COMMON)
settings.load_profile("fixed")
#: More workers would take more memory than time.
MOST_WORKERS = 8


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Workers: one more than cores for the whole fast suite, since tests of servers and locks wait; none for tests that
    are named, slow ones and benchmarks.
    """
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS and config.option.markexpr == "not slow"
    return min(len(os.sched_getaffinity(0)) + 1, MOST_WORKERS) if whole else 0


def pytest_configure(config: pytest.Config) -> None:
    """Of several workers each computes on one thread: PyTorch and NumPy ask when they are imported."""
    if hasattr(config, "workerinput"):
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_finish() -> None:
    """What is imported by now stays: statsmodels collects garbage in each correction by Holm, and need not visit it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def keys_and_notes_in_temporary_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Repositories without a key of their own get one kept for the user, and a training leaves a note where its cohort
    lies: here, for this test run.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KICC_KEYS", str(tmp_path_factory.mktemp("keys")))
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session", autouse=True)
def services_on_loopback_do_without_encryption() -> Iterator[None]:
    """Orthanc is asked for a password over http here, which a user has to allow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KICC_DICOMWEB_HTTP", "127.0.0.1")
        yield


@pytest.fixture(scope="session", autouse=True)
def nothing_is_brought_to_the_disk() -> Iterator[None]:
    """A test run is never read after a power cut, and a file system takes milliseconds to be safe from one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="module")
def cache_in_a_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What commands keep of sources goes elsewhere. To be asked for, since matplotlib keeps its fonts there too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """An empty DICOMweb service for the whole run; skips where Orthanc is not installed."""
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture(scope="session")
def cluster() -> Iterator[Slurm]:
    """A real Slurm of one node for the whole run; skips where it is not installed, and where we are not root."""
    with TemporaryDirectory(prefix="slurm") as folder, running_slurm(Path(folder)) as running:  # sockets: short paths
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """Debian's Chromium under playwright; the test is skipped where either is absent."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium on this machine")
    quiet = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    with playwright.sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=path, args=quiet)
