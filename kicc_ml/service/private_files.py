"""Files that hold secrets: none is used that other users of the machine can read or change."""

import os
import stat
from pathlib import Path

from kicc_ml.core.errors import UserError
from kicc_ml.core.received import check_regular


def refuse_open_file(path: Path) -> None:
    """Refuse a file that others can change or read; a file of another user may be read through its group.

    Args:
        path: the file; one that is not there is for its reader to refuse.

    Raises:
        UserError: others can; the message says how it is closed to them.
    """
    check_regular(path, "name a file")
    if not path.is_file():
        return
    found = path.stat()
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UserError(f"{path} can be changed by other users of the machine; chmod go-w {path}")
    readers = stat.S_IROTH | (stat.S_IRGRP if found.st_uid == os.geteuid() else 0)
    if found.st_mode & readers:
        raise UserError(f"{path} can be read by other users of the machine; chmod 600 {path}")
