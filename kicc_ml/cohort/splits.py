"""Folds over hospitals or patients: the cases to train on, to validate on and to test on; saved as JSON.

Every function takes the cases of a cohort and returns all folds, or only the fold named ``fold``. A person is never on
two sides: other cases of a tested person are left out of that fold, at any hospital. A fold depends only on the cases,
the parameters and the seed, not on the other requested folds.
"""

import logging
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import TypeVar

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from kicc_ml.core.errors import UserError
from kicc_ml.core.files import write_json
from kicc_ml.core.received import read_json_object
from kicc_ml.core.types import Case, Split, index_by_id

logger = logging.getLogger(__name__)

T = TypeVar("T")

ALL = "all"
POOLED = "other"
#: From this many training hospitals on, whole hospitals are held back for validation. With fewer, at most two would
#: be left to train on, and the aim of the model is to work at unseen hospitals.
SITES_TO_VALIDATE_BY_SITE = 4


def leave_one_site_out(
    cases: Sequence[Case],
    *,
    val_fraction: float = 0.2,
    seed: int = 0,
    min_patients: int = 1,
    fold: str | None = None,
) -> list[Split]:
    """Make one fold per site, which is tested; sites with fewer than ``min_patients`` cases form the fold ``other``.

    Args:
        cases: the cases to divide.
        val_fraction: the share of training cases that is held back for validation.
        seed: the seed of the random choice.
        min_patients: a site with fewer cases has no fold of its own.
        fold: the name of the only fold to return; None returns all.

    Raises:
        UserError: fewer than two groups of sites, no case left to train on, or no fold of that name.
    """
    site_of = _pool_small_sites(cases, min_patients)
    sites = sorted(set(site_of.values()))
    if len(sites) < 2:
        lower = ", lower split.min_patients" if min_patients > 1 else ""
        raise UserError(
            f"leave-one-site-out needs two sites, the cohort has {len(sites)} with at least {min_patients} "
            f"patients; set split=patient_kfold{lower}, or state the hospitals (cohort.site_pattern or sites.csv for "
            "images in NIfTI)"
        )
    tests = {site: [case for case in cases if site_of[case.site] == site] for site in sites}
    return _splits(cases, tests, val_fraction, seed, fold)


def site_kfold(
    cases: Sequence[Case],
    *,
    folds: int = 5,
    val_fraction: float = 0.2,
    seed: int = 0,
    fold: str | None = None,
) -> list[Split]:
    """Make ``folds`` folds whose test sides are whole sites, with about equal numbers of cases.

    Arguments are those of :func:`leave_one_site_out`; ``folds`` is the number of folds.

    Raises:
        UserError: fewer sites than folds, no case left to train on, or no fold of that name.
    """
    sites = [case.site for case in cases]
    if len(set(sites)) < folds or folds < 2:
        raise UserError(
            f"site_kfold: {folds} folds of {len(set(sites))} site(s) cannot be; set split.folds between 2 "
            "and the number of sites, or split=patient_kfold"
        )
    parts = GroupKFold(folds, shuffle=True, random_state=seed).split(cases, groups=sites)
    return _splits(cases, _numbered(cases, parts), val_fraction, seed, fold)


def site_pairs(
    cases: Sequence[Case],
    *,
    groups: int = 4,
    val_fraction: float = 0.2,
    seed: int = 0,
    fold: str | None = None,
) -> list[Split]:
    """Make one fold for each pair of ``groups`` groups of whole sites (``without-1-2`` ...), trained on the others.

    For any two sites there is a fold whose model saw neither. Each case is tested once: group 1 in ``without-1-2``,
    group 2 in ``without-2-3``, and the last group in the fold without the first and the last group.

    Raises:
        UserError: fewer sites than groups, fewer than three groups, or no fold of that name.
    """
    sites = [case.site for case in cases]
    if groups < 3 or len(set(sites)) < groups:
        raise UserError(
            f"site_pairs: {groups} groups of {len(set(sites))} site(s) cannot be; set split.groups between 3 and the "
            "number of sites"
        )
    parts = GroupKFold(groups, shuffle=True, random_state=seed).split(cases, groups=sites)
    members = [[cases[position] for position in test] for _, test in parts]
    folds = {f"without-{i + 1}-{j + 1}": (i, j) for i, j in combinations(range(groups), 2)}
    wanted = _named(folds, fold)
    return [_without(name, cases, members, pair, val_fraction, seed) for name, pair in wanted.items()]


def _without(
    name: str,
    cases: Sequence[Case],
    members: Sequence[Sequence[Case]],
    pair: tuple[int, int],
    val_fraction: float,
    seed: int,
) -> Split:
    """Make a fold that trains on neither group of the pair; one of the groups is tested if this pair tests it."""
    first, second = pair
    tested = second if (first, second) == (0, len(members) - 1) else first if second == first + 1 else None
    test = [] if tested is None else members[tested]
    held_out = {case.person for group in pair for case in members[group]}
    remaining = [case for case in cases if case.person not in held_out]
    return _split(name, [*remaining, *test], test, val_fraction, seed)


def patient_kfold(
    cases: Sequence[Case],
    *,
    folds: int = 5,
    val_fraction: float = 0.2,
    seed: int = 0,
    fold: str | None = None,
) -> list[Split]:
    """Make ``folds`` folds of persons, with every site spread over all folds, to test a model at hospitals it knows.

    Arguments are those of :func:`leave_one_site_out`; ``folds`` is the number of folds.

    Raises:
        UserError: fewer persons than folds, no case left to train on, or no fold of that name.
    """
    persons = [case.person for case in cases]
    if len(set(persons)) < folds or folds < 2:
        raise UserError(
            f"patient_kfold: {folds} folds of {len(set(persons))} person(s) cannot be; set split.folds "
            "between 2 and the number of persons"
        )
    sites = [case.site for case in cases]
    largest = max(sorted(set(sites)), key=sites.count)
    # A site with fewer cases than folds cannot be in every fold; it is spread as a part of the largest site.
    strata = [site if sites.count(site) >= folds else largest for site in sites]
    parts = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(cases, strata, persons)
    return _splits(cases, _numbered(cases, parts), val_fraction, seed, fold)


def all_cases(
    cases: Sequence[Case], *, val_fraction: float = 0.1, seed: int = 0, fold: str | None = None
) -> list[Split]:
    """Make one fold ``all`` without a test side: a model for use elsewhere that is trained on almost all cases.

    With ``val_fraction`` 0 it trains on all cases, and its last weights are kept: if cases are few, one more case to
    learn from is more useful than one to select on.
    """
    if val_fraction == 0:
        ordered = sorted(index_by_id(cases).values(), key=lambda case: case.case_id)
        return [Split(ALL, _ids(ordered), (), (), {case.case_id: case.person for case in ordered})]
    return _splits(cases, {ALL: []}, val_fraction, seed, fold)


def write_splits(path: Path, splits: Sequence[Split]) -> None:
    """Write folds as JSON; the file is complete or absent."""
    write_json(path, {"folds": [asdict(split) for split in splits]})


def read_splits(path: Path) -> list[Split]:
    """Read the folds that :func:`write_splits` wrote.

    Raises:
        UserError: the file is missing, is not a split file, or has a person on two sides.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist; it is written when a training starts")
    kept = read_json_object(path, "remove it and start the training anew")
    try:
        return [_from_json(one) for one in kept["folds"]]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no split file ({error!r}); remove it and start the training anew") from error


def _from_json(one: Mapping) -> Split:
    sides = {side: tuple(one[side]) for side in ("train", "val", "test")}
    return Split(fold=one["fold"], person_of=dict(one["person_of"]), **sides)


def _pool_small_sites(cases: Sequence[Case], min_patients: int) -> dict[str, str]:
    """Map each site to its fold: its own fold, or the pooled fold of small sites."""
    sizes = Counter(case.site for case in cases)
    own = {site: _fold_name(site) for site, size in sizes.items() if size >= min_patients}
    pooled = POOLED if POOLED not in own.values() else f"{POOLED}-sites"
    if len(set(own.values())) < len(own):
        raise UserError(f"sites {', '.join(sorted(own))} do not differ as folder names; rename one")
    if small := sorted(set(sizes) - set(own)):
        logger.info("sites of fewer than %d patients are one fold, %s: %s", min_patients, pooled, ", ".join(small))
    return {site: own.get(site, pooled) for site in sizes}


def _fold_name(site: str) -> str:
    """Make a fold name that is safe as a folder and on a command line: letters of any script, digits, ``_.-``."""
    return re.sub(r"[^\w.-]", "-", site)


def _numbered(cases: Sequence[Case], parts: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, list[Case]]:
    tests = [[cases[position] for position in test] for _, test in parts]
    return {f"fold-{number}": test for number, test in enumerate((test for test in tests if test), start=1)}


def _splits(
    cases: Sequence[Case],
    tests: Mapping[str, Sequence[Case]],
    val_fraction: float,
    seed: int,
    fold: str | None,
) -> list[Split]:
    index_by_id(cases)
    if not 0 < val_fraction < 1:
        raise UserError(f"split.val_fraction={val_fraction} must lie between 0 and 1, for example 0.2")
    return [_split(name, cases, test, val_fraction, seed) for name, test in _named(tests, fold).items()]


def _named(folds: Mapping[str, T], fold: str | None) -> Mapping[str, T]:
    """Select the fold of that name, or all folds if ``fold`` is None."""
    if fold is not None and fold not in folds:
        raise UserError(f"there is no fold {fold}; this split has: {', '.join(folds)}")
    return folds if fold is None else {fold: folds[fold]}


def _split(fold: str, cases: Sequence[Case], test: Sequence[Case], val_fraction: float, seed: int) -> Split:
    tested = {case.person for case in test}
    remaining = sorted((case for case in cases if case.person not in tested), key=lambda case: case.case_id)
    if len({case.person for case in remaining}) < 2:
        raise UserError(
            f"fold {fold}: {len(remaining)} case(s) are left to train and select on, two persons are needed; "
            "raise split.min_patients so that small sites are pooled, or set split=patient_kfold"
        )
    rng = np.random.default_rng([seed, zlib.crc32(fold.encode())])
    held_back = _hold_back(remaining, val_fraction, rng)
    val = [case for case in remaining if case.person in held_back]
    train = [case for case in remaining if case.person not in held_back]
    if apart := len(cases) - len(test) - len(remaining):
        logger.info("fold %s: %d case(s) of tested persons at other sites are left out", fold, apart)
    person_of = {case.case_id: case.person for case in (*train, *val, *test)}
    return Split(fold, _ids(train), _ids(val), _ids(test), person_of)


def _ids(cases: Iterable[Case]) -> tuple[str, ...]:
    return tuple(sorted(case.case_id for case in cases))


def _hold_back(cases: Sequence[Case], val_fraction: float, rng: np.random.Generator) -> set[str]:
    """Choose the persons to validate on: whole sites if there are enough, else single persons; never everyone."""
    by_site = len({case.site for case in cases}) >= SITES_TO_VALIDATE_BY_SITE
    group_of = {case.case_id: case.site if by_site else case.person for case in cases}
    chosen = _draw_groups(Counter(group_of.values()), val_fraction * len(cases), rng)
    persons = {case.person for case in cases}
    held_back = {case.person for case in cases if group_of[case.case_id] in chosen}
    return held_back if held_back < persons else {min(persons)}


def _draw_groups(sizes: Mapping[str, int], target: float, rng: np.random.Generator) -> set[str]:
    """Choose groups in random order while each brings the total size nearer to the target; at least one group."""
    chosen, total = set(), 0
    for group in rng.permutation(sorted(sizes)).tolist():
        if abs(total + sizes[group] - target) < abs(total - target):
            chosen.add(group)
            total += sizes[group]
    return chosen or {min(sorted(sizes), key=lambda group: sizes[group])}


def make_undivided_split(cases: Sequence[Case]) -> Split:
    """Make a split that is none, to find out which cases can be used before they are divided."""
    persons = {case.case_id: case.person for case in cases}
    return Split("everybody", tuple(case.case_id for case in cases), (), (), persons)
