"""The cache of objects from a DICOMweb service: files named by pseudonyms, and the UIDs with which to request them.

The cache holds what the service sends, names included, and leads from a pseudonym back to the object. It lies with the
user like the key, closed to others, and is written to no log and no output.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kicc_ml.core.errors import UserError
from kicc_ml.core.files import write_text
from kicc_ml.core.user_folders import get_cache_folder

UIDS_FILE = "uids.json"


@dataclass(frozen=True)
class InstanceUids:
    """The true UIDs of one object, which may only be used in requests."""

    study: str
    series: str
    sop: str


def find_cache_folder(url: str) -> Path:
    """Find the cache of a service in the user's cache folder; its name is a hash of the address."""
    return get_cache_folder() / "dicomweb" / hashlib.sha256(url.encode()).hexdigest()[:16]


def write_uids(cache: Path, series: str, study_uid: str, series_uid: str, sop_uids: Mapping[str, str]) -> None:
    """Write the UIDs of a series whose files will lie in ``cache/series``; ``sop_uids`` are by file name."""
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    (cache / series).mkdir(parents=True, exist_ok=True)
    content = json.dumps({"study": study_uid, "series": series_uid, "instances": dict(sop_uids)})
    write_text(cache / series / UIDS_FILE, content, private=True)


def read_uids(path: Path) -> InstanceUids:
    """Read the UIDs with which a cached file can be requested.

    Raises:
        UserError: they are not known.
    """
    try:
        known = json.loads((path.parent / UIDS_FILE).read_text())
        return InstanceUids(known["study"], known["series"], known["instances"][path.name])
    except (OSError, ValueError, KeyError):
        raise UserError(f"{path}: the cache no longer knows this object; index the DICOMweb service again") from None
