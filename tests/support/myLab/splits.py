"""A way to divide: every hospital is tested, the last patient of the others selects."""

from collections.abc import Sequence

from kicc_ml.core.types import Case, Split


def hospitals(cases: Sequence[Case], fold: str | None = None) -> list[Split]:
    """One fold per hospital, or the one that is named."""
    sites = sorted({case.site for case in cases})
    return [_split(cases, site) for site in sites if fold in (None, site)]


def _split(cases: Sequence[Case], tested: str) -> Split:
    others = [case.case_id for case in cases if case.site != tested]
    test = tuple(case.case_id for case in cases if case.site == tested)
    return Split(tested, tuple(others[:-1]), tuple(others[-1:]), test, {case.case_id: case.person for case in cases})


def halves(cases: Sequence[Case]) -> list[Split]:
    """The first half tests a model of the second, and the other way round; it knows of no folds by name."""
    ids = [case.case_id for case in cases]
    first, second = tuple(ids[: len(ids) // 2]), tuple(ids[len(ids) // 2 :])
    person_of = {case.case_id: case.person for case in cases}
    return [Split("first", second, (), first, person_of), Split("second", first, (), second, person_of)]
