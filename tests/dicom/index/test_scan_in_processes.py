"""Several processes scan as one does, and headers come by patient."""

import stat
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from kicc_ml.core.errors import UserError
from kicc_ml.dicom.index import scan as scanning
from kicc_ml.dicom.index.build import read_index
from kicc_ml.dicom.index.cluster import use_cluster
from kicc_ml.dicom.index.scan import scan
from kicc_ml.dicom.index.table import make_index_table
from tests.support.scans import KEY, Writer


class TestParallel:
    @pytest.fixture
    def repository(self, tmp_path: Path, write_ct: Writer, monkeypatch: pytest.MonkeyPatch) -> Path:
        for number, site in enumerate(("seoul", "busan", "daegu")):
            write_ct(site=site, PatientID=f"P{number}", SeriesInstanceUID=f"1.2.3.{number}")
        (tmp_path / "seoul" / "page.html").write_text("<html>")
        monkeypatch.setattr(scanning, "MIN_PARALLEL_FILES", 1)
        monkeypatch.setattr(scanning, "FILES_PER_BATCH", 2)
        return tmp_path

    def test_several_processes_give_the_same_as_one(self, repository: Path, monkeypatch: pytest.MonkeyPatch):
        parallel = scan(repository, KEY)
        monkeypatch.setattr(scanning, "MIN_PARALLEL_FILES", 1000)
        assert parallel.table.equals(scan(repository, KEY).table)

    def test_a_dask_cluster_of_two_workers_gives_the_same_index_byte_for_byte(
        self, repository: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
    ):
        distributed = pytest.importorskip("distributed", reason="kicc_ml[dask] is not installed")
        files = [tmp_path_factory.mktemp("out") / name for name in ("local.parquet", "dask.parquet")]
        make_index_table(read_index([repository])).to_parquet(files[0])
        backends = _watched(monkeypatch)
        two_workers = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
        with two_workers as cluster, use_cluster(cluster.scheduler_address):
            make_index_table(read_index([repository])).to_parquet(files[1])
        assert backends == ["DaskDistributedBackend"]
        assert files[0].read_bytes() == files[1].read_bytes()

    def test_a_scheduler_that_does_not_answer_is_the_users_error(self, monkeypatch: pytest.MonkeyPatch):
        pytest.importorskip("distributed", reason="kicc_ml[dask] is not installed")
        monkeypatch.setattr("kicc_ml.dicom.index.cluster.MAX_CONNECT_SECONDS", 0.5)
        with pytest.raises(UserError, match="no scheduler answers"), use_cluster("tcp://127.0.0.1:9"):
            pass


def _watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the backends that joblib used from now on."""
    used: list[str] = []
    called = joblib.Parallel.__call__

    def watched(self: joblib.Parallel, tasks: Any) -> Any:
        used.append(type(self._backend).__name__)
        return called(self, tasks)

    monkeypatch.setattr(joblib.Parallel, "__call__", watched)
    return used


def test_headers_come_by_patient_and_each_once(tmp_path: Path, write_ct: Writer):
    for number in range(3):
        write_ct(name=f"{number}", PatientID=f"P{number % 2}", SeriesInstanceUID=f"1.2.3.{number}")
    (tmp_path / "seoul" / "page.html").write_text("<html>")
    table = scan(tmp_path, KEY)
    groups = list(table.group_by_patient())
    assert sorted(len(group) for group in groups) == [1, 5, 10]
    assert all(len({header.patient for header in group}) == 1 for group in groups)
    assert sorted(header.path for group in groups for header in group) == sorted(header.path for header in table)
    assert np.all([[one.path for one in group] == sorted(one.path for one in group) for group in groups])


def test_a_cache_is_closed_to_others_as_far_as_it_holds_paths(tmp_path: Path, cache: Path, write_ct: Writer):
    write_ct()
    scan(tmp_path, KEY, cache)
    assert stat.S_IMODE(cache.stat().st_mode) & 0o077 == 0
