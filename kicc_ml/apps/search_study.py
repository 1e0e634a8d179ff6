"""The file of a search: an optuna study, which a search that was stopped goes on from."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kicc_ml.apps.search_space import Space
from kicc_ml.core.errors import TargetError, UserError, iterate_causes
from kicc_ml.core.help_pages import EXTRAS

if TYPE_CHECKING:
    import optuna

STUDY = "search.sqlite3"
NAME = "search"
#: What the study keeps beside its trials: the values that settings may have, and digests of all other settings.
SPACE, SETTINGS = "space", "settings"
#: Begins the name of what the study keeps of a trial: metric and result. Its value is negative where less is better.
RESULT = "result"


@dataclass(frozen=True)
class Search:
    """What ``configs/hparams_search`` states.

    Attributes:
        trials: how many trials the study shall have; failed ones do not count, and the next start replaces them.
        params: by setting, its values as Hydra's sweeps write them, beside those of the command line.
        sampler: how settings are chosen: called with ``seed``; None for :class:`optuna.samplers.TPESampler`.
    """

    trials: int
    params: Mapping[str, str]
    sampler: Any = None

    def __post_init__(self) -> None:
        if type(self.trials) is not int or self.trials < 1:
            raise UserError(f"hparams_search.trials={self.trials} is no number of trials; give 1 or more")


@contextmanager
def open_study(place: Path, space: Space, settings: Mapping[str, str]) -> Iterator["optuna.Study"]:
    """Yield the study that lies in ``place``, new or as it was left.

    Raises:
        UserError: it is of another space or of other settings, or its file is damaged.
        TargetError: its file cannot be written.
    """
    optuna = import_optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = place / STUDY
    try:
        study = optuna.create_study(
            storage=_open_storage(path), study_name=NAME, direction="maximize", load_if_exists=True, sampler=None
        )
        _refuse_another(study, place, {SPACE: dict(space.described), SETTINGS: dict(settings)})
        yield study
    except Exception as error:
        if fault := _find_file_fault(error):
            raise fault(f"{path} cannot be used ({error}); make room, or delete {place} to search anew") from error
        raise


def import_optuna() -> Any:
    """Import optuna. Raises UserError, with the remedy, where it is not installed."""
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise UserError("a search needs optuna; install it: pip install 'kicc_ml[search]'", page=EXTRAS) from error
    return optuna


def make_sampler(search: Search, seed: int, number: int) -> "optuna.samplers.BaseSampler":
    """Make the sampler of one trial, with its own seed: a resumed search chooses what an uninterrupted one would."""
    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    if search.sampler is not None:
        return search.sampler(seed=own)
    return import_optuna().samplers.TPESampler(seed=own)


def _open_storage(path: Path) -> Any:
    """Open SQLite: what a killed process wrote is whole. The path is taken as it is, whatever characters it has."""
    from optuna.storages import RDBStorage
    from sqlalchemy.pool import NullPool

    connect = {"creator": lambda: sqlite3.connect(path), "poolclass": NullPool}
    return RDBStorage("sqlite://", engine_kwargs=connect)


def _refuse_another(study: "optuna.Study", place: Path, stated: Mapping[str, Mapping[str, str]]) -> None:
    for kind, now in stated.items():
        before = study.user_attrs.get(kind)
        if before is None:
            study.set_user_attr(kind, now)
        elif changed := sorted(key for key in {*before, *now} if before.get(key) != now.get(key)):
            what = "values of" if kind == SPACE else "settings:"
            raise UserError(
                f"{place} holds a search with other {what} {', '.join(changed)}; give this one its own folder with "
                "run_dir=DIR, or delete that one"
            )


def _find_file_fault(error: BaseException) -> type[UserError] | None:
    for cause in iterate_causes(error):
        if isinstance(cause, sqlite3.OperationalError):  # full, read-only, not to be opened
            return TargetError
        if isinstance(cause, sqlite3.DatabaseError):  # the file is no database
            return UserError
    return None
