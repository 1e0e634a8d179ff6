"""Findings of the repository doctor: faults of the data as sentences, ordered by severity."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["must mend", "should mend", "note"]
SEVERITIES: tuple[Severity, ...] = ("must mend", "should mend", "note")
#: The losses that a fault can cause, the worst first: the whole table, a patient, a series, privacy, quality.
Stake = Literal["table", "patients", "images", "privacy", "quality"]
STAKES: tuple[Stake, ...] = ("table", "patients", "images", "privacy", "quality")


@dataclass(frozen=True)
class Finding:
    """One fault to mend.

    Attributes:
        severity: how urgent the remedy is.
        stake: what the fault costs.
        code: a short name of the fault.
        sentence: the fault in words.
        count: the number of things that ``sentence`` is about.
        example: one place where the fault occurs.
        remedy: what the sender should do.
    """

    severity: Severity
    stake: Stake
    code: str
    sentence: str
    count: int
    example: str = ""
    remedy: str = ""


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """Sort findings by severity, then by stake, then by count (highest first)."""
    return sorted(findings, key=lambda one: (SEVERITIES.index(one.severity), STAKES.index(one.stake), -one.count))
