"""The rows of the worklist: worst patients first, of all studies of the node or of those that are searched for."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from kicc_ml.service.queue import STATES, CaseResult, StudyQueue
from kicc_ml.service.worklist import StudyEntry, read_studies

#: Highest score of a CT (Wang 2020) and of a radiograph (Wong 2020).
MOST_SCORE, MOST_EXTENT = 24, 8
#: Rows that a browser gets at once; the search finds the others.
MOST_ROWS = 200
#: The studies are read at most once in this time, however many look at the list.
FRESH_S = 1.0


@dataclass(frozen=True)
class Place:
    """Where the page of a result is found: the study, and the place of the result among those of the study."""

    study: int
    number: int
    result: CaseResult


@dataclass
class Worklist:
    """The studies of a node as rows. ``identified``: the identity of the patient is part of a row."""

    queue: StudyQueue
    identified: bool
    _lock: Lock = field(default_factory=Lock)
    _read: tuple[float, list[StudyEntry]] = (0.0, [])
    _counted: dict[int, tuple[float, int]] = field(default_factory=dict)

    def list_entries(self) -> list[StudyEntry]:
        """List all studies, worst first."""
        with self._lock:
            if not self._read[0] or time.monotonic() - self._read[0] > FRESH_S:
                self._read = time.monotonic(), sort_worst_first(read_studies(self.queue, None, self._counted))
            return self._read[1]

    def forget(self) -> None:
        """Read the studies anew the next time, since one of them was changed."""
        with self._lock:
            self._read = (0.0, [])

    def search(self, text: str, state: str) -> dict[str, Any]:
        """Find rows.

        Args:
            text: words that all stand somewhere in the row; "" for all.
            state: the state of the studies; "" for any.

        Returns:
            ``rows``, how many there are in all as ``found``, and the number of studies of each state as ``states``.
        """
        entries = self.list_entries()
        words = text.casefold().split()
        found = [
            entry for entry in entries if state in ("", entry.state) and (not words or self._has_words(entry, words))
        ]
        places = map_places(entries)
        counts = {one: sum(entry.state == one for entry in entries) for one in STATES}
        rows = [self.make_row(entry, places) for entry in found[:MOST_ROWS]]
        return {"rows": rows, "found": len(found), "states": counts}

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

    def _has_words(self, entry: StudyEntry, words: Sequence[str]) -> bool:
        shown = [str(entry.study), entry.reason, *(one.modality for one in entry.results)]
        shown += entry.identity.values() if self.identified else []
        text = "\n".join(shown).casefold()
        return all(word in text for word in words)


def sort_worst_first(entries: Sequence[StudyEntry]) -> list[StudyEntry]:
    """Sort by the share of the highest score, then by the time of the latest image; those without a score come last."""

    def key(entry: StudyEntry) -> tuple[float, float, int]:
        return max((compute_rank(result) for result in entry.results), default=-1.0), entry.changed, entry.study

    return sorted(entries, key=key, reverse=True)


def compute_rank(result: CaseResult) -> float:
    """Compute the share of the highest score, so that CT and radiograph stand in one list; -1 without a score."""
    score, most = find_score(result)
    return -1.0 if score is None else score / most


def find_score(result: CaseResult) -> tuple[float | None, int]:
    """Find the score of a result and its highest value: the severity score of a CT, the extent of a radiograph."""
    if result.severity.get("severity_score") is not None:
        return result.severity["severity_score"], MOST_SCORE
    extent = result.severity.get("geographic_extent")
    return extent, MOST_SCORE if extent is None and result.modality == "CT" else MOST_EXTENT


def list_results(entry: StudyEntry) -> list[CaseResult]:
    """List the results of a study in the order by which their pages are numbered."""
    return sorted(entry.results, key=lambda result: result.case_id)


def map_places(entries: Sequence[StudyEntry]) -> dict[str, Place]:
    """Map the case id of each result to where its page is."""
    return {
        result.case_id: Place(entry.study, number, result)
        for entry in entries
        for number, result in enumerate(list_results(entry), 1)
    }


def _make_result(number: int, result: CaseResult, places: Mapping[str, Place]) -> dict[str, Any]:
    score, most = find_score(result)
    prior = places.get(result.prior)
    return {
        **{"number": number, "modality": result.modality, "score": score, "most": most, "rank": compute_rank(result)},
        **{name: result.severity.get(name) for name in ("percent_involved", "percent_consolidated", "lesion_ml")},
        "flags": list(result.flags),
        "prior": prior and {"study": prior.study, "number": prior.number, "score": find_score(prior.result)[0]},
    }
