"""TensorBoard's files, without the name of the machine that it puts into theirs."""

import re
from pathlib import Path

#: ``events.out.tfevents.<second>.<host>.<process>.<number>``; a host may hold dots.
NAMED_AFTER_HOST = re.compile(r"(events\.out\.tfevents\.\d+)\..+\.(\d+\.\d+)")


def drop_host_names(folder: Path) -> None:
    """Rename the event files of a folder that are closed, so that a run that is handed over names no machine."""
    for path in sorted(folder.glob("events.out.tfevents.*")):
        if match := NAMED_AFTER_HOST.fullmatch(path.name):
            path.rename(path.with_name(f"{match[1]}.{match[2]}"))
