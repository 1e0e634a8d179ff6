"""Event files of TensorBoard without the host name that TensorBoard writes into their names."""

import re
from pathlib import Path

#: ``events.out.tfevents.<second>.<host>.<process>.<number>``; a host name may contain dots.
NAMED_AFTER_HOST = re.compile(r"(events\.out\.tfevents\.\d+)\..+\.(\d+\.\d+)")


def drop_host_names(folder: Path) -> None:
    """Rename the closed event files of a folder, so that a shared run names no machine."""
    for path in sorted(folder.glob("events.out.tfevents.*")):
        if match := NAMED_AFTER_HOST.fullmatch(path.name):
            path.rename(path.with_name(f"{match[1]}.{match[2]}"))
