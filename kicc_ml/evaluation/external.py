"""Read predictions of other software: a CSV of probabilities or a folder of masks, with every case exactly once."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case
from kicc_ml.evaluation.multisite import list_endpoints

COLUMNS = ("case_id", "endpoint", "probability")

#: Description of the content of a folder of predictions, for errors.
MASKS = "masks (<case_id>.nii.gz or .dcm)"

#: Maximum number of ids that an error names.
MAX_NAMED_IDS = 5


def make_prediction_rows(cells: pd.DataFrame, path: Path, cases: Mapping[str, Case], model: str) -> pd.DataFrame:
    """Make rows ``case_id site fold endpoint model probability label`` from a file with ``COLUMNS``.

    Raises UserError where a column is missing, a probability is no number from 0 to 1, or an endpoint of the file does
    not have every case of the cohort exactly once; missing, doubled and unknown cases are named together.
    """
    if absent := [column for column in COLUMNS if column not in cells]:
        raise UserError(f"{path}: no column {', '.join(absent)}; a prediction file has {','.join(COLUMNS)}")
    table = cells[list(COLUMNS)].fillna({"case_id": "empty", "endpoint": "empty"})
    table["probability"] = _parse_probabilities(table, path)
    _require_known_endpoints(table, path, cases)
    found = {endpoint: table.loc[table["endpoint"] == endpoint, "case_id"] for endpoint in list_endpoints(table)}
    require_each_once(path, found, set(cases))
    site = {case_id: case.site for case_id, case in cases.items()}
    label = [
        cases[case].endpoints.get(endpoint) for case, endpoint in zip(table["case_id"], table["endpoint"], strict=True)
    ]
    placed = table.assign(site=table["case_id"].map(site), label=pd.Series(label, table.index, dtype=float))
    return placed.assign(fold="", model=model)[["case_id", "site", "fold", "endpoint", "model", "probability", "label"]]


def _parse_probabilities(table: pd.DataFrame, path: Path) -> pd.Series:
    probability = pd.to_numeric(table["probability"], errors="coerce")
    if (wrong := ~probability.between(0, 1)).any():
        first = table.loc[wrong].iloc[0]
        raise UserError(
            f"{path}: {int(wrong.sum())} probabilities are not numbers from 0 to 1, "
            f"the first that of {first['case_id']}, {first['endpoint']}"
        )
    return probability


def _require_known_endpoints(table: pd.DataFrame, path: Path, cases: Mapping[str, Case]) -> None:
    known = {endpoint for case in cases.values() for endpoint in case.endpoints}
    strange = sorted(set(table["endpoint"]) - known)
    if strange or table.empty:
        named = f"endpoint {', '.join(strange)}" if strange else "no rows"
        raise UserError(f"{path}: {named}; the cohort knows {', '.join(sorted(known)) or 'no endpoint'}")


def select_one_file_per_case(
    folder: Path, found: Sequence[tuple[str, Path]], expected: Collection[str], known: Collection[str]
) -> dict[str, Path]:
    """Select the files of ``found`` (pairs of case id and file), by case id.

    Raises UserError unless each case in ``expected`` has one; a file of another case in ``known`` is left alone, one of
    no known case is refused.
    """
    wanted = [(case_id, path) for case_id, path in found if case_id in expected or case_id not in known]
    require_each_once(folder, {MASKS: [case_id for case_id, _ in wanted]}, set(expected))
    return dict(wanted)


def select_model_rows(
    predictions: pd.DataFrame, run: Path, endpoints: Collection[str], cases: Mapping[str, Case]
) -> pd.DataFrame:
    """Select the predictions of a run for ``endpoints``, with the outcomes of the cohort. Empty without such rows.

    Raises UserError where the run predicted a case that the cohort does not have: it is of another one.
    """
    if "endpoint" not in predictions:
        return predictions.iloc[:0]
    rows = predictions[predictions["endpoint"].isin(endpoints)]
    if strange := sorted(set(rows["case_id"]) - set(cases)):
        raise UserError(
            f"{run} is of another cohort: {len(strange)} of its cases are not in this one ({_format_some(strange)})"
        )
    label = [cases[case].endpoints[endpoint] for case, endpoint in zip(rows["case_id"], rows["endpoint"], strict=True)]
    return rows.assign(label=pd.Series(label, rows.index, dtype=float))


def require_each_once(path: Path, found: Mapping[str, Iterable[str]], expected: Collection[str]) -> None:
    """Raise one UserError that names missing, doubled and unknown cases of all parts (endpoints, say) of ``path``."""
    faults = {part: fault for part, ids in found.items() if (fault := _describe_faults(ids, expected))}
    if faults:
        named = "; ".join(f"{part}: {fault}" for part, fault in faults.items())
        raise UserError(f"{path}: {named}. Every case must be there exactly once; kicc-ml cases lists them")


def _describe_faults(found: Iterable[str], expected: Collection[str]) -> str:
    count = Counter(map(str, found))
    faults = {
        "missing": sorted(set(expected) - set(count)),
        "twice or more": sorted(case_id for case_id, times in count.items() if times > 1),
        "not in the cohort": sorted(set(count) - set(expected)),
    }
    return ", ".join(f"{len(ids)} {fault} ({_format_some(ids)})" for fault, ids in faults.items() if ids)


def _format_some(ids: list[str]) -> str:
    return ", ".join(ids[:MAX_NAMED_IDS]) + (", ..." if len(ids) > MAX_NAMED_IDS else "")
