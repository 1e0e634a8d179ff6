"""Names of hospitals in a table beside those of the folders of their images."""

import logging
import unicodedata
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from kicc_ml.core.shown import make_printable

logger = logging.getLogger(__name__)

#: So many patients of a hospital without a folder are no misspelling of another one.
LEAST_WITHOUT_FOLDER = 5


def spelt_like_folders(site: pd.Series, sites: Collection[str] | None) -> pd.Series:
    """Korean folder names from a Mac are decomposed (NFD), tables composed (NFC): spell like the folder."""
    folders = {unicodedata.normalize("NFC", folder): folder for folder in sites or ()}
    return site.map(
        lambda name: folders.get(unicodedata.normalize("NFC", name), name) if isinstance(name, str) else None
    )


def known_sites(path: Path, site: pd.Series, folders: Collection[str] | None) -> Collection[str] | None:
    """What a cell of ``site`` may be: a folder, or a hospital without images that is too large for a misspelling."""
    if not folders:
        return None
    patients = site.value_counts()
    without = [str(name) for name, count in patients.items() if name not in folders and count >= LEAST_WITHOUT_FOLDER]
    if not without or not set(folders) <= set(patients.index):
        return folders
    named = ", ".join(make_printable(name) for name in without)
    logger.warning("%s: hospitals without a folder of images, of which the table alone is used: %s", path, named)
    return [*folders, *without]
