"""The cohort of a run: it is read once for all folds, and again for evaluation from a place that the user names.

A run folder may come from anyone. Of its cohort settings, only those that select cases are used. The place of the
cohort is named by the user (``cohort.root=DIR``) or by the note that training left for this user, never by the run
folder.
"""

import hashlib
import logging
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kicc_ml.cohort.flow import Cohort, Flow
from kicc_ml.cohort.repository import repository
from kicc_ml.cohort.snapshot import read_snapshot, write_snapshot
from kicc_ml.core.errors import TargetError, UserError
from kicc_ml.core.files import write_json
from kicc_ml.core.parts import TARGET, NotTrusted, build_part, refuse_untrusted, targets_in
from kicc_ml.core.pseudonym import KEY_NAME, compute_key_fingerprint, find_kept_key, load_repository_key
from kicc_ml.core.received import read_json_object
from kicc_ml.core.types import Case
from kicc_ml.core.user_folders import get_cache_folder, get_state_folder
from kicc_ml.runs.cohort_readers import KEY, PLACES, READERS, Reader, load_cohort_key, make_cohort_record, remove_places
from kicc_ml.runs.cohort_record import Record, describe_differences, differences, read_record, record_of
from kicc_ml.runs.selection import fault_of_selection
from kicc_ml.runs.settings import ASK_AGAIN, RunSettings, digest_of

logger = logging.getLogger(__name__)


#: Where this user keeps public data sets.
PUBLIC_DATA = "KICC_DATA"


@dataclass(frozen=True)
class RunCohort:
    """The place of the cohort of a run: as the user names it, else as in this user's own training.

    ``root`` is the folder of the cohort, ``folder`` that of the copies of ``cohort=hu_ct``. ``as_trained`` takes the
    cases as this user's training has read them just now; without it the cohort is read as it is now. ``trust`` names
    packages whose cohorts may be read too.
    """

    root: str | Path | None = None
    folder: str | Path | None = None
    index_cache: str | Path | None = None
    as_trained: bool = False
    trust: tuple[str, ...] = ()

    def read(self, settings: RunSettings, run: Path) -> Cohort:
        """Read the cases of the run's cohort. A warning names the cases that differ from those of the training.

        Args:
            settings: the settings of a fold; of its ``cohort`` only those that select cases are used.
            run: the run folder.

        Raises:
            UserError: the place of the cohort is unknown, or it cannot be read with these settings.
        """
        cohort, config = settings.require(settings.cohort, "cohort"), settings.path
        reader = READERS.get(str(cohort.get("_target_")))
        if reader is None:
            settings.require(cohort.get(TARGET), f"cohort.{TARGET}")
            return self._read_foreign(cohort, run, settings)
        chosen = {key: cohort[key] for key in reader.settings if key in cohort}
        if fault := fault_of_selection(chosen):
            raise UserError(f"{config}: cohort.{fault}; {ASK_AGAIN}")
        if self.as_trained and (kept := read_noted_cases(run, {**cohort, **self._named()})) is not None:
            return kept
        places = self._places(reader, run)
        if reader.read is repository:
            _check_key(cohort.get(KEY), Path(places["root"]), run)
        cases = reader.read(**places, **chosen)
        warn_of_changes(run, record_of(cases, load_cohort_key(reader, places)))
        return cases

    def _named(self) -> dict[str, str | Path]:
        return {name: getattr(self, name) for name in PLACES if getattr(self, name)}

    def _read_foreign(self, cohort: Mapping[str, Any], run: Path, settings: RunSettings) -> Cohort:
        """Read the cases of a cohort with the function of a trusted package, which gets all settings of the cohort."""
        try:
            refuse_untrusted(cohort, READERS, self.trust, settings.packages)
        except NotTrusted as error:
            raise UserError(f"{settings.path}: of its cohort {error}") from error
        if not self.as_trained and (nested := [target for target in targets_in(cohort) if target in READERS]):
            # Only the outermost part is given the places that the user names; this one would take those of the run.
            raise UserError(
                f"{settings.path}: its cohort reads {nested[0]} from a place that the run names; {ASK_AGAIN}"
            )
        places = read_note(run) | self._named()
        if self.as_trained and (kept := read_noted_cases(run, {**cohort, **self._named()})) is not None:
            return kept
        try:
            cases = build_part(remove_places(cohort), places)
        except UserError:
            raise
        except Exception as error:  # the settings of a stranger make functions fail in any way
            raise UserError(f"{settings.path}: {cohort[TARGET]} fails with these settings: {error!r}") from error
        if not isinstance(cases, list) or not all(isinstance(case, Case) for case in cases):
            raise UserError(f"{settings.path}: {cohort[TARGET]} gives no list of cases; {ASK_AGAIN}")
        warn_of_changes(run, record_of(cases, None))
        return cases if isinstance(cases, Cohort) else Cohort(cases, Flow(len(cases), len(cases), unit="cases"))

    def _places(self, reader: Reader, run: Path) -> dict[str, Any]:
        given = {name: place for name, place in self._named().items() if name in reader.places}
        places = given if "root" in given else read_note(run) | given
        if reader.read is not repository and PUBLIC_DATA in os.environ:
            places.setdefault("root", os.environ[PUBLIC_DATA])
        needed = [name for name in reader.places if name != "index_cache"]
        if lacking := [name for name in needed if name not in places]:
            said = " ".join(f"cohort.{name}=DIR" for name in needed)
            raise UserError(
                f"{run} was not trained here by you, so it does not say where its cohort lies ({', '.join(lacking)}); "
                f"name the folder: {said}, or --root DIR for kicc-ml export"
            )
        if "index_cache" in reader.places:
            places.setdefault("index_cache", get_cache_folder() / "index" / f"{_name_of(Path(places['root']))}.parquet")
        return {name: places[name] for name in reader.places}


def note_cohort(run: Path, cohort: Mapping[str, Any], cases: Cohort) -> None:
    """Store the place of a run's cohort and its cases in the user's own folder."""
    note_places(run, cohort)
    note_cases(run, cohort, cases)


def note_places(run: Path, cohort: Mapping[str, Any]) -> None:
    """Store the place of a run's cohort in the user's own folder.

    If that folder cannot be written, the user must name ``cohort.root=DIR`` later; nothing else fails.
    """
    places = {name: os.path.abspath(cohort[name]) for name in PLACES if cohort.get(name)}
    with suppress(TargetError):
        write_json(_note(run), {"run": os.path.abspath(run), **places}, private=True)


def read_note(run: Path) -> dict[str, Any]:
    """Read the places that :func:`note_places` stored for a run folder; empty if this user did not train it."""
    if not _note(run).is_file():
        return {}
    kept = read_json_object(_note(run), "remove it, and give cohort.root=DIR")
    return {name: kept[name] for name in PLACES if isinstance(kept.get(name), str)}


def note_cases(run: Path, cohort: Mapping[str, Any], cases: Cohort) -> None:
    """Store the cases of a run, as they were read, in the user's own folder, so that folds need not read them again.

    They are not in the run folder, because they hold values of patients. If they cannot be written, each fold reads the
    cohort itself.
    """
    with suppress(TargetError):
        write_snapshot(_noted_cases(run), cases, _read_by(cohort))


def read_noted_cases(run: Path, cohort: Mapping[str, Any]) -> Cohort | None:
    """Read the cases that :func:`note_cases` stored; None if there are none, or if the run's digests differ."""
    noted = read_snapshot(_noted_cases(run), _read_by(cohort))
    return noted if noted is not None and make_cohort_record(cohort, noted) == read_record(run) else None


def cases_of_run(run: Path, cohort: Mapping[str, Any], read: Callable[[], Cohort]) -> Cohort:
    """Return the cases of a run: those that were stored, or else the cohort is read again.

    Args:
        run: the run folder.
        cohort: the settings of the cohort, with its places.
        read: the function that reads the cohort.

    Raises:
        UserError: the cohort was read again and has changed since the run was started. The message names the cases.
    """
    if (noted := read_noted_cases(run, cohort)) is not None:
        return noted
    cases, laid_down = read(), read_record(run)
    if laid_down is not None and (found := differences(laid_down, make_cohort_record(cohort, cases))):
        said = describe_differences(found, len(laid_down))
        raise UserError(f"the cohort has changed since {run} was started: {said}; start the training again")
    return cases


def warn_of_changes(run: Path, now: Record) -> None:
    """Warn of the cases of a cohort that differ from those that the run was trained on."""
    before = read_record(run)
    if before is not None and (found := differences(before, now)):
        said = describe_differences(found, len(before))
        logger.warning("%s was trained on another cohort: %s; they are judged as the cohort is now", run, said)


def _check_key(fingerprint: Any, root: Path, run: Path) -> None:
    """Raise UserError, with the key that is needed, if the case ids of a run use another key than those of ``root``.

    A run of an earlier version states no key; its cases are compared anyway.
    """
    if not root.is_dir() or not re.fullmatch("[0-9a-f]{12}", str(fingerprint)):
        return
    if fingerprint == compute_key_fingerprint(load_repository_key(root)):
        return
    kept = find_kept_key(fingerprint)
    where = f"it is {kept}" if kept else "ask for it where the run was trained, and send it by a way that is safe"
    raise UserError(
        f"the cases of {run} are named under another key of pseudonyms than that of {root}, so none would be found; "
        f"the key of fingerprint {fingerprint} is needed: lay it as {root / KEY_NAME} ({where}), or name the cohort "
        "that the run was trained on (cohort.root=DIR, of kicc-ml export --root DIR)"
    )


def _note(run: Path) -> Path:
    return get_state_folder() / "runs" / f"{_name_of(run)}.json"


def _noted_cases(run: Path) -> Path:
    return _note(run).with_suffix(".cases.json")


def _read_by(cohort: Mapping[str, Any]) -> str:
    """Compute one digest of the settings of a cohort; relative and absolute places give the same digest."""
    places = {name: os.path.abspath(cohort[name]) for name in PLACES if cohort.get(name)}
    chosen = {name: value for name, value in remove_places(cohort).items() if name != KEY}
    return digest_of([chosen, places])


def _name_of(folder: Path) -> str:
    """Compute one name for a folder; relative and absolute paths give the same name."""
    return hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
