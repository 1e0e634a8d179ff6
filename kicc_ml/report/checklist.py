"""Fill in the TRIPOD+AI and CLAIM checklists from the facts of a run, and say what its authors have to add.

The items, in our own words, and the sentences that answer them are in ``checklist.yaml``. A sentence is written only
if every fact in it is known; otherwise the answer says that the run cannot know it.
"""

import string
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import yaml

from kicc_ml.evaluation.text import capitalize
from kicc_ml.report import facts

#: Answer to an item that cannot be answered from a run.
UNKNOWN = "cannot be known from the run"

#: States of an item.
STATED, IN_PART, NOT_KNOWN = "stated", "in part", "not known"


def fill_checklists(summary: Mapping[str, Any], run: Mapping[str, str]) -> list[dict[str, Any]]:
    """Fill in each standard that concerns the run.

    TRIPOD+AI concerns runs that predict outcomes, CLAIM those with images. If the settings are not known, as for
    predictions made elsewhere, images are assumed to have been used.

    Args:
        summary: that of :func:`kicc_ml.evaluation.summary.summarise`.
        run: that of :func:`kicc_ml.report.report.write_report`.

    Returns:
        a dictionary ``standard version counts items`` for each standard; each item has a ``state`` and an ``answer``.
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
    """Answer one item: the sentence with its facts, and what the authors have to add."""
    sentence = item.get("known", "")
    needed = {name for _, name, _, _ in string.Formatter().parse(sentence) if name} | set(item.get("needs", ()))
    statement = capitalize(sentence.format_map(known).rstrip(".")) if sentence and needed <= set(known) else ""
    ask = item.get("ask", "")
    if not statement and not ask:
        ask = item["topic"][:1].lower() + item["topic"][1:]
    request = capitalize(f"{UNKNOWN}: {ask}") if ask else ""
    state = NOT_KNOWN
    if statement:
        state = IN_PART if ask else STATED
    answer = ". ".join(part for part in (statement, request) if part)
    return {
        "item": str(item["item"]),
        "topic": item["topic"],
        "state": state,
        "answer": f"{answer}.",
        "see": item.get("see", "") if statement else "",
    }
