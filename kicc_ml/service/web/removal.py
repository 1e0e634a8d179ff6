"""Remove all that a node keeps of one study, because an operator says so."""

import shutil
from collections.abc import Sequence

from kicc_ml.service.intake import Folders
from kicc_ml.service.queue import State, StudyQueue


def remove_study(queue: StudyQueue, folders: Folders, study: int, states: Sequence[State]) -> bool:
    """Remove a study, its images and its results; what a kill leaves is removed when the node starts again.

    Args:
        queue: the queue that knows it.
        folders: the folders of the node.
        study: its number.
        states: those in which it may be removed.

    Returns:
        False where it is in another state now.
    """
    marks = ", ".join("?" * len(states))
    with queue.database.transaction() as connection:
        cases = connection.execute("SELECT case_id FROM result WHERE study = ?", (study,)).fetchall()
        removed = connection.execute(f"DELETE FROM study WHERE id = ? AND state IN ({marks})", (study, *states))
        if not removed.rowcount:
            return False
    for row in cases:
        shutil.rmtree(folders.results / row["case_id"], ignore_errors=True)
    shutil.rmtree(folders.received / str(study), ignore_errors=True)
    return True
