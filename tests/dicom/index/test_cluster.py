"""A Dask cluster that is not ready is named in one sentence, with what to start."""

import pytest

from kicc_ml.core.errors import UserError
from kicc_ml.dicom.index.cluster import use_cluster

distributed = pytest.importorskip("distributed", reason="kicc_ml[dask] is not installed")


def test_a_scheduler_without_a_worker_is_the_users_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kicc_ml.dicom.index.cluster.MAX_CONNECT_SECONDS", 0.5)
    with distributed.LocalCluster(n_workers=0, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        with pytest.raises(UserError, match=f"no worker; .* dask worker {address}$"), use_cluster(address):
            pass
