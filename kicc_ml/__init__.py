"""kicc_ml: deep learning for COVID-19 pneumonia over a multi-hospital DICOM repository.

The names below are the Python interface and stay stable; each is imported when it is first used, so that
``import kicc_ml`` itself is fast and imports no PyTorch. All else is reached by its module and may move.
"""

from importlib import import_module
from typing import Any

#: Name of the interface -> module that holds it.
_HOME = {
    "index_series": "kicc_ml.apps.api",
    "read_volume": "kicc_ml.apps.api",
    "read_cohort": "kicc_ml.apps.api",
    "split_by_site": "kicc_ml.apps.api",
    "prepare_data": "kicc_ml.apps.api_training",
    "load_run": "kicc_ml.apps.api",
    "segment": "kicc_ml.apps.api",
    "grade": "kicc_ml.apps.api",
    "evaluate": "kicc_ml.apps.api",
    "write_dicom": "kicc_ml.apps.api",
    "UserError": "kicc_ml.core.errors",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("kicc_ml")
    if name not in _HOME:
        raise AttributeError(f"module 'kicc_ml' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
