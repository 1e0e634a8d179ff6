"""The allowed values of the settings that select cases; other settings of a received run are ignored."""

from collections.abc import Callable, Mapping
from typing import Any


def fault_of_selection(chosen: Mapping[str, Any]) -> str:
    """Describe the first invalid setting among those that select cases; "" if all are valid."""
    for key, value in chosen.items():
        if not FITTING[key](value):
            return f"{key}={value!r} is no such setting"
    return ""


def _is_window(value: Any) -> bool:
    return value is None or (isinstance(value, list) and len(value) == 2 and all(type(day) is int for day in value))


def _is_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _is_composites(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) and _is_words(parts) for name, parts in value.items())


def _is_labels(value: Any) -> bool:
    return isinstance(value, dict) and all(
        type(label) is int and isinstance(word, str) for label, word in value.items()
    )


def _is_one_of(*words: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in words


#: For each setting that selects cases, the test of its allowed values.
FITTING: Mapping[str, Callable[[Any], bool]] = {
    "ct_window_days": _is_window,
    "cxr_window_days": _is_window,
    "guard_endpoints": _is_words,
    "person_conflict": _is_one_of("refuse", "drop"),
    "gaps": _is_one_of("refuse", "resample"),
    "tilt": _is_one_of("refuse", "shear"),
    "ct_ranking": _is_words,
    "serial": _is_one_of("first", "latest", "pooled"),
    "endpoints": _is_words,
    "composites": _is_composites,
    "mask_labels": _is_labels,
    "mask_names": _is_words,
    "sets": _is_words,
    "site_pattern": lambda value: value is None or isinstance(value, str),
    "spacing_known": lambda value: isinstance(value, bool),
}
