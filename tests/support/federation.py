"""Hospitals of a federation in this process, and messages between them and the coordinator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from kicc_ml.core.types import Case
from kicc_ml.federated.hospital import Hospital
from kicc_ml.federated.messages import Message
from kicc_ml.federated.plan import list_versions
from kicc_ml.synthetic.repository import synthesize


@dataclass
class Wire:
    """Carries questions to hospitals of this process and keeps what went over it; those in ``silent`` do not answer."""

    hospitals: Mapping[str, Hospital]
    silent: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)
    sent: list[Message] = field(default_factory=list)

    def __call__(self, task: str, question: Message, sites: Sequence[str]) -> Mapping[str, Message]:
        answers = {}
        for site in sites:
            self.asked.append((task, site))
            self.sent.append(question)
            if site not in self.silent:
                answers[site] = self.hospitals[site].answer(task, question)
                self.sent.append(answers[site])
        return answers


def with_versions(message: Message) -> Message:
    return replace(message, figures={**message.figures, "versions": list_versions()})


def make_cases(site: str, patients: int, seed: int) -> list[Case]:
    """Patients with two values and two outcomes; every value and outcome is known."""
    draw = np.random.default_rng(seed)
    age_n, crp_n = draw.normal(60, 12, patients), draw.gamma(2.0, 20.0, patients)
    icu_n = draw.random(patients) < 1 / (1 + np.exp(-(age_n - 60) / 10))
    return [
        Case(
            f"{site}_{number}",
            site,
            f"{site}_{number}",
            clinical={"age_years": age, "crp_mg_l": crp},
            endpoints={"icu": float(icu), "death": float(number % 2)},
        )
        for number, (age, crp, icu) in enumerate(zip(age_n, crp_n, icu_n, strict=True))
    ]


def make_hospital(cases: Sequence[Case], store: Path) -> Hospital:
    """A hospital that has read these patients."""
    hospital = Hospital(store / "no repository", store)
    vars(hospital)["cases"] = cases
    return hospital


def write_consortium(folder: Path, patients: int, sites: int) -> tuple[Path, dict[str, Path]]:
    """Tables of a synthetic consortium: a repository of all, and one of each hospital alone."""
    pooled = folder / "pooled"
    synthesize(pooled, "demo", 1, tables_only=True, sites=sites, patients=patients)
    table = pd.read_csv(pooled / "clinical.csv", dtype=str)
    alone = {}
    for site, rows in table.groupby("site"):
        alone[str(site)] = folder / str(site)
        alone[str(site)].mkdir()
        rows.to_csv(alone[str(site)] / "clinical.csv", index=False)
    return pooled, alone
