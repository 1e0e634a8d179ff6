"""What a doctor of repositories finds: sentences in order of what they cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["must mend", "should mend", "note"]
SEVERITIES: tuple[Severity, ...] = ("must mend", "should mend", "note")
#: What is at stake, the worst first: the whole table, a patient, a series, the patient's name, the quality.
Stake = Literal["table", "patients", "images", "privacy", "quality"]
STAKES: tuple[Stake, ...] = ("table", "patients", "images", "privacy", "quality")


@dataclass(frozen=True)
class Finding:
    """One thing to mend: ``count`` is of what ``sentence`` says, ``example`` one place, ``remedy`` what to do."""

    severity: Severity
    stake: Stake
    code: str
    sentence: str
    count: int
    example: str = ""
    remedy: str = ""


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """By severity, then by what is at stake, then by how often."""
    return sorted(findings, key=lambda one: (SEVERITIES.index(one.severity), STAKES.index(one.stake), -one.count))
