"""Identity of persons: traces that link cases, and a policy for a person at two hospitals."""

from collections import defaultdict
from collections.abc import Collection, Hashable, Sequence
from datetime import date
from itertools import pairwise
from typing import Literal

import numpy as np

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case

PersonConflict = Literal["refuse", "drop"]


class PersonConflictError(UserError):
    """One person is a patient of two hospitals, and the policy is to refuse that."""


def link_persons(traces: Sequence[Collection[Hashable]]) -> list[int]:
    """Group cases that share a trace (a person id, a study, a near-duplicate image), directly or through other cases.

    Args:
        traces: for each case, the traces of its person.

    Returns:
        For each case, the position of the first case of the same person.
    """
    from scipy.sparse import coo_array  # an index does not wait for SciPy
    from scipy.sparse.csgraph import connected_components

    holders = defaultdict(list)
    for position, of_case in enumerate(traces):
        for trace in set(of_case):
            holders[trace].append(position)
    links = np.array([pair for held in holders.values() for pair in pairwise(held)], dtype=int).reshape(-1, 2)
    graph = coo_array((np.ones(len(links)), links.T), shape=(len(traces), len(traces)))
    _, labels = connected_components(graph, directed=False)
    first_of = {label: position for position, label in reversed(list(enumerate(labels)))}
    return [first_of[label] for label in labels]


def resolve_conflicts(cases: Sequence[Case], policy: PersonConflict) -> tuple[list[Case], int]:
    """Apply the policy to persons with cases at several sites.

    Under ``drop``, the site of the earliest known admission keeps its cases of the person, because a later stay knows
    the outcome of the earlier one. Between equals, the first in ``cases`` is kept.

    Returns:
        The cases kept, in order, and the number of cases dropped.

    Raises:
        PersonConflictError: the policy is ``refuse`` and a person has cases at two sites.
    """
    if policy not in ("refuse", "drop"):
        raise UserError(f"person_conflict={policy} is unknown; choose refuse or drop")
    by_person = defaultdict(list)
    for case in cases:
        by_person[case.person].append(case)
    conflicts = [of_one for of_one in by_person.values() if len({case.site for case in of_one}) > 1]
    if conflicts and policy == "refuse":
        raise PersonConflictError(_explain(conflicts))
    kept_site = {of_one[0].person: min(of_one, key=lambda case: case.admitted or date.max).site for of_one in conflicts}
    kept = [case for case in cases if kept_site.get(case.person, case.site) == case.site]
    return kept, len(cases) - len(kept)


def _explain(conflicts: Sequence[Sequence[Case]]) -> str:
    shown = ["  " + ", ".join(case.case_id for case in of_one) for of_one in conflicts[:10]]
    more = [f"  ... and {len(conflicts) - 10} more"] if len(conflicts) > 10 else []
    return "\n".join(
        [
            f"{len(conflicts)} person(s) are cases of two sites (same person_id, study or image):",
            *shown,
            *more,
            "Correct the table, or set cohort.person_conflict=drop to keep the first admission",
        ]
    )
