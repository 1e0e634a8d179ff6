"""The rows of the worklist: worst patients first, of all studies of the node or of those that are searched for."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kicc_ml.service.queue import CaseResult, StudyQueue
from kicc_ml.service.severity_rank import compute_rank, find_score
from kicc_ml.service.worklist import Search, StudyEntry, count_studies, read_neighbours, read_worst

#: Rows of a page of the list.
MOST_ROWS = 200


@dataclass(frozen=True)
class Place:
    """Where the page of a result is found: the study, and the place of the result among those of the study."""

    study: int
    number: int
    result: CaseResult


@dataclass(frozen=True)
class Worklist:
    """The studies of a node as rows. ``identified``: the identity of the patient is part of a row."""

    queue: StudyQueue
    identified: bool

    def search(self, text: str, state: str, first: int = 0) -> dict[str, Any]:
        """Find rows, the worst first.

        Args:
            text: words that all stand somewhere in the row; "" for all.
            state: the state of the studies; "" for any.
            first: how many rows are left out at the begin, so that the list can be read in pages.

        Returns:
            ``rows``, how many there are in all as ``found``, how many were left out as ``first``, how many a page has
            at most as ``most``, and the number of studies of each state as ``states``.
        """
        search = Search(text.split(), state, self.identified)
        entries = read_worst(self.queue, search, first, MOST_ROWS)
        places = self.find_places(entries)
        return {
            "rows": [self.make_row(entry, places) for entry in entries],
            **{"found": count_studies(self.queue, search), "first": first, "most": MOST_ROWS},
            "states": self.queue.count_states(),
        }

    def find_places(self, entries: Sequence[StudyEntry]) -> dict[str, Place]:
        """Find the pages of the prior scans of studies, by the case ids of these scans."""
        return self.map_places({result.prior for entry in entries for result in entry.results} - {""})

    def map_places(self, case_ids: Collection[str]) -> dict[str, Place]:
        """Map case ids to where their pages are; those that are not here are left out."""
        found = read_neighbours(self.queue, case_ids) if case_ids else {}
        return {
            result.case_id: Place(study, number, result)
            for study, results in found.items()
            for number, result in enumerate(results, 1)
            if result.case_id in case_ids
        }

    def make_row(self, entry: StudyEntry, places: Mapping[str, Place]) -> dict[str, Any]:
        """Make what is shown of a study.

        Args:
            entry: the study.
            places: where the page of each result is, for links to prior scans.

        Returns:
            values for JSON.
        """
        results = [_make_result(number, result, places) for number, result in enumerate(list_results(entry), 1)]
        return {
            **{"study": entry.study, "state": entry.state, "reason": entry.reason},
            "identity": dict(entry.identity) if self.identified else {},
            **{"received": entry.received, "ended": entry.ended, "instances": entry.instances},
            "results": sorted(results, key=lambda one: -one["rank"]),
            **{"delivered": entry.delivered, "undelivered": entry.undelivered, "delivery_error": entry.delivery_error},
        }


def list_results(entry: StudyEntry) -> list[CaseResult]:
    """List the results of a study in the order by which their pages are numbered."""
    return sorted(entry.results, key=lambda result: result.case_id)


def _make_result(number: int, result: CaseResult, places: Mapping[str, Place]) -> dict[str, Any]:
    score, most = find_score(result.modality, result.severity)
    prior = places.get(result.prior)
    return {
        **{
            "number": number,
            "modality": result.modality,
            "score": score,
            "most": most,
            "rank": compute_rank(result.modality, result.severity),
        },
        **{name: result.severity.get(name) for name in ("percent_involved", "percent_consolidated", "lesion_ml")},
        "flags": list(result.flags),
        "prior": prior
        and {
            "study": prior.study,
            "number": prior.number,
            "score": find_score(prior.result.modality, prior.result.severity)[0],
        },
    }
