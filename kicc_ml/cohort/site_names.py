"""Comparison of hospital names in a clinical table with the names of the image folders."""

import logging
import unicodedata
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from kicc_ml.core.shown import make_printable

logger = logging.getLogger(__name__)

#: A hospital without a folder that has at least this many patients is not a misspelling of another one.
MIN_PATIENTS_WITHOUT_FOLDER = 5


def normalize_site_names(site: pd.Series, sites: Collection[str] | None) -> pd.Series:
    """Replace a hospital name by the folder name that differs only in Unicode form (macOS decomposes Hangul)."""
    folders = {unicodedata.normalize("NFC", folder): folder for folder in sites or ()}
    return site.map(
        lambda name: folders.get(unicodedata.normalize("NFC", name), name) if isinstance(name, str) else None
    )


def known_sites(path: Path, site: pd.Series, folders: Collection[str] | None) -> Collection[str] | None:
    """List the allowed hospital names: the folders, and hospitals without a folder that have enough patients."""
    if not folders:
        return None
    patients = site.value_counts()
    without = [
        str(name) for name, count in patients.items() if name not in folders and count >= MIN_PATIENTS_WITHOUT_FOLDER
    ]
    if not without or not set(folders) <= set(patients.index):
        return folders
    named = ", ".join(make_printable(name) for name in without)
    logger.warning("%s: hospitals without a folder of images, of which the table alone is used: %s", path, named)
    return [*folders, *without]
