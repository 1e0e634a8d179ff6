"""Let a Dask cluster read headers and prepare volumes, in place of joblib's own processes."""

from collections.abc import Iterator
from contextlib import contextmanager

import joblib

from kicc_ml.core.errors import UserError
from kicc_ml.core.help_pages import EXTRAS

MAX_CONNECT_SECONDS = 15


@contextmanager
def use_cluster(scheduler: str) -> Iterator[None]:
    """Let joblib use a Dask cluster within the block.

    The workers need the same version of kicc_ml and the source and the store under the same paths. They receive the
    repository's key, so the network between them must belong to the consortium.

    Args:
        scheduler: address of the scheduler; "" changes nothing.

    Raises:
        UserError: Dask is not installed, the scheduler does not answer, or it has no worker.
    """
    if not scheduler:
        yield
        return
    try:
        from distributed import Client  # an extra: most readers have one machine
    except ImportError as error:
        raise UserError("a Dask cluster needs Dask: pip install 'kicc_ml[dask]'", page=EXTRAS) from error
    try:
        client = Client(scheduler, timeout=MAX_CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise UserError(f"Dask at {scheduler}: no scheduler answers there ({error}); give tcp://HOST:PORT") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=MAX_CONNECT_SECONDS)
        except TimeoutError as error:
            raise UserError(
                f"Dask at {scheduler}: the scheduler has no worker; start one on each machine: dask worker {scheduler}"
            ) from error
        with joblib.parallel_config(backend="dask"):
            yield
