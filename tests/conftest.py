"""A test run leaves nothing with the user who starts it."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def pseudonym_keys_in_a_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Repositories without a key of their own get one kept for the user: here, for this test run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KICC_KEYS", str(tmp_path_factory.mktemp("keys")))
        yield
