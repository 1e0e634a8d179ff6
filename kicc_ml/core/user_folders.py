"""Folders for files of the user: caches, the keys of pseudonyms, and state."""

import os
from pathlib import Path

KEYS_VARIABLE = "KICC_KEYS"


def get_cache_folder() -> Path:
    """Return ``$XDG_CACHE_HOME/kicc_ml`` (default ``~/.cache/kicc_ml``), which can be deleted at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kicc_ml"


def get_keys_folder() -> Path:
    """Return ``$KICC_KEYS`` (default ``~/.config/kicc_ml/keys``), the folder of this user's pseudonym keys."""
    return Path(os.environ.get(KEYS_VARIABLE) or Path.home() / ".config" / "kicc_ml" / "keys")


def get_state_folder() -> Path:
    """Return ``$XDG_STATE_HOME/kicc_ml`` (default ``~/.local/state/kicc_ml``): where this user's cohorts lie."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "kicc_ml"
