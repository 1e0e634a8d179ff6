"""Headers read on a Dask cluster: joblib's own processes are exchanged for the cluster's."""

from collections.abc import Iterator
from contextlib import contextmanager

import joblib

from kicc_ml.core.errors import UserError

MAX_CONNECT_SECONDS = 15


@contextmanager
def use_cluster(scheduler: str) -> Iterator[None]:
    """Within, what joblib does is done by the cluster of ``scheduler``; nothing changes where that is "".

    The workers need kicc_ml in the same version and the source under the same path. They are handed the
    repository's key, so the network between them must be the consortium's own. Raises UserError where Dask is not
    installed or the scheduler does not answer.
    """
    if not scheduler:
        yield
        return
    try:
        from distributed import Client  # an extra: most readers have one machine
    except ImportError as error:
        raise UserError("--dask needs Dask: pip install 'kicc_ml[dask]'") from error
    try:
        client = Client(scheduler, timeout=MAX_CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise UserError(f"--dask {scheduler}: no scheduler answers there ({error}); give tcp://HOST:PORT") from error
    with client, joblib.parallel_config(backend="dask"):
        yield
