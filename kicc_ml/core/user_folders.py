"""Where this project keeps files of the user: caches, and the keys of pseudonyms."""

import os
from pathlib import Path

KEYS_VARIABLE = "KICC_KEYS"


def get_cache_folder() -> Path:
    """``$XDG_CACHE_HOME/kicc_ml`` (default ``~/.cache/kicc_ml``); what lies there can be deleted at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kicc_ml"


def get_keys_folder() -> Path:
    """``$KICC_KEYS`` (default ``~/.config/kicc_ml/keys``): the keys of pseudonyms of this user."""
    return Path(os.environ.get(KEYS_VARIABLE) or Path.home() / ".config" / "kicc_ml" / "keys")


def get_state_folder() -> Path:
    """``$XDG_STATE_HOME/kicc_ml`` (default ``~/.local/state/kicc_ml``): where the cohorts of this user's runs lie."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "kicc_ml"
