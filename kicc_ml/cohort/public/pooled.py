"""Several public CT sets as one cohort; patients that two sets share stay on one side of every split."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kicc_ml.cohort.flow import Cohort, Flow
from kicc_ml.cohort.public.covid_ct import covid19_20, covid19_ct_seg, medseg, mosmed
from kicc_ml.cohort.public.images import covid_ct_seg
from kicc_ml.cohort.public.known_sets import SharedPatients, shared_patients
from kicc_ml.cohort.public.nifti_files import existing_folder
from kicc_ml.cohort.public.ricord import ricord1a
from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case, index_by_id

logger = logging.getLogger(__name__)

#: CT sets with masks that can be pooled. A region that a set does not mark is unknown in its cases.
CT_SETS: Mapping[str, Callable[..., Cohort]] = {
    "covid19_20": covid19_20,
    "covid19_ct_seg": covid19_ct_seg,
    "covid_ct_seg": covid_ct_seg,
    "medseg": medseg,
    "mosmed": mosmed,
    "ricord1a": ricord1a,
}


def pooled(root: str | Path | None, sets: Sequence[str], index_cache: str | Path | None = None) -> Cohort:
    """Read the cases of several public CT sets as one cohort.

    Args:
        root: the folder of the sets. Each set has a folder of its own name, or all sets are anywhere below ``root``.
        sets: names in ``CT_SETS``.
        index_cache: the parquet file that caches the DICOM index.

    Returns:
        The cases, set after set. If two sets may share patients (``datasets.yaml``), all cases of the shared source
        count as one person, so they stay on one side of every split.

    Raises:
        UserError: fewer than two sets, an unknown set, or two sets with the same scans.
    """
    folder = existing_folder(root, "each set")
    _check_sets(sets)
    rules = [rule for rule in shared_patients() if set(rule.sets) <= set(sets)]
    for rule in rules:
        _check_rule(rule)
    flow = Flow(unit="scans of the pooled sets")
    cases: list[Case] = []
    for name in sets:
        place = folder / name if (folder / name).is_dir() else folder
        found = CT_SETS[name](place, index_cache=index_cache) if name == "ricord1a" else CT_SETS[name](place)
        cases += [_on_one_side(case, name, rules) for case in found]
        flow.rows += found.flow.rows
        flow.counts.update(found.flow.counts)
        flow.excluded.update(found.flow.excluded)
    flow.cases = len(index_by_id(cases))
    return Cohort(cases, flow)


def _check_sets(sets: Sequence[str]) -> None:
    if unknown := [name for name in sets if name not in CT_SETS]:
        raise UserError(f"cohort.sets: {', '.join(unknown)} cannot be pooled; there are {', '.join(CT_SETS)}")
    if len(set(sets)) < max(2, len(sets)):
        raise UserError(f"cohort.sets=[{', '.join(sets)}]; name two or more sets, each once")


def _check_rule(rule: SharedPatients) -> None:
    pair = " and ".join(rule.sets)
    if rule.rule == "refuse":
        raise UserError(f"cohort.sets: {pair} are not pooled: {rule.why}; leave one of them out")
    if rule.rule == "one_side":
        logger.warning("%s: %s; all cases of %s stay on one side of every split", pair, rule.why, rule.site)


def _on_one_side(case: Case, name: str, rules: Sequence[SharedPatients]) -> Case:
    shared = any(rule.rule == "one_side" and name in rule.sets and rule.site == case.site for rule in rules)
    return replace(case, person=case.site) if shared else case
