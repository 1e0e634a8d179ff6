"""TRIPOD+AI and CLAIM filled in as far as a run knows itself, and what its authors have to add.

The items, in our own words, and the sentences that answer them are data: ``checklist.yaml``. A sentence stands only
where every fact in it is known; what is left is said to be beyond the run.
"""

import string
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import yaml

from kicc_ml.evaluation.text import capitalize
from kicc_ml.report import facts

#: What is written where an item cannot be answered from a run.
UNKNOWN = "cannot be known from the run"

#: How far an item is answered.
STATED, IN_PART, NOT_KNOWN = "stated", "in part", "not known"


def fill_checklists(summary: Mapping[str, Any], run: Mapping[str, str]) -> list[dict[str, Any]]:
    """Each standard that concerns the run: ``standard version counts items``; of an item its ``state`` and ``answer``.

    TRIPOD+AI concerns runs that predict outcomes, CLAIM those with images; where the settings are not known, as of
    predictions made elsewhere, images are taken to have been used.
    """
    known = facts.collect_facts(summary, run)
    standards = yaml.safe_load((files("kicc_ml.report") / "checklist.yaml").read_text(encoding="utf-8"))
    return [
        _fill_checklist(standard, known)
        for standard in standards
        if standard["concerns"] in facts.list_concerns(summary, run)
    ]


def _fill_checklist(standard: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, Any]:
    items = [answer_item(item, known) for item in standard["items"]]
    counts = {state: sum(item["state"] == state for item in items) for state in (STATED, IN_PART, NOT_KNOWN)}
    return {"standard": standard["standard"], "version": standard["version"], "counts": counts, "items": items}


def answer_item(item: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, str]:
    """One item: the sentence with its facts, and what the authors have to add."""
    sentence = item.get("known", "")
    needed = {name for _, name, _, _ in string.Formatter().parse(sentence) if name} | set(item.get("needs", ()))
    says = capitalize(sentence.format_map(known).rstrip(".")) if sentence and needed <= set(known) else ""
    ask = item.get("ask") or ("" if says else item["topic"][:1].lower() + item["topic"][1:])
    rest = f"{UNKNOWN}: {ask}" if ask else ""
    state = NOT_KNOWN if not says else IN_PART if ask else STATED
    answer = ". ".join(part for part in (says, capitalize(rest)) if part)
    return {
        "item": str(item["item"]),
        "topic": item["topic"],
        "state": state,
        "answer": f"{answer}.",
        "see": item.get("see", "") if says else "",
    }
