"""What a process that was killed left in a finished fold, and what one that still runs holds there."""

from pathlib import Path

import pytest

from kicc_ml.core.locks import Busy
from kicc_ml.runs.lay_down import LOCK, STARTED, take_over_left_locks
from tests.support.lock_holder import other_process


@pytest.mark.parametrize("name", [LOCK, STARTED])
def test_a_lock_left_by_a_killed_process_is_taken_away_from_a_finished_fold(tmp_path: Path, name: str):
    holder = other_process(tmp_path / name)
    with pytest.raises(Busy, match=f"process {holder.pid}"):
        take_over_left_locks(tmp_path)
    holder.kill()
    holder.wait()
    assert (tmp_path / name).exists()
    take_over_left_locks(tmp_path)
    assert not list(tmp_path.iterdir())
