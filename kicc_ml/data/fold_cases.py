"""Which cases a data module of one fold prepares, and which it validates on."""

from collections import Counter
from collections.abc import Sequence

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case, Split, index_by_id


def select_fold_cases(cases: Sequence[Case], split: Split) -> list[Case]:
    """Select the cases of all three sides, because the predictions of the fold need the test images too."""
    found = index_by_id(cases)
    if unknown := [case_id for case_id in (*split.train, *split.val, *split.test) if case_id not in found]:
        raise UserError(
            f"fold {split.fold} names {len(unknown)} case(s) that the cohort does not have, for example "
            f"{unknown[0]}; was split.json made for other data?"
        )
    return [found[case_id] for case_id in (*split.train, *split.val, *split.test)]


def select_across_hospitals(cases: Sequence[Case], most: int | None) -> list[Case]:
    """Select at most ``most`` cases: the first case of each hospital before the second case of any."""
    turns: Counter[str] = Counter()
    turn = {}
    for case in cases:
        turn[case.case_id] = turns[case.site]
        turns[case.site] += 1
    return sorted(cases, key=lambda case: turn[case.case_id])[:most]


def list_views(cases: Sequence[Case]) -> list[Case]:
    """List the cases, each followed by its copies with another image (``Case.views``)."""
    return [view for case in cases for view in case.views]
