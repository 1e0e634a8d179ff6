"""A finished outcome run beside the repository that it was made from."""

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from kicc_ml.apps.evaluate import evaluate_runs
from kicc_ml.cohort.repository import make_case_id
from kicc_ml.core.files import write_json, write_table
from kicc_ml.core.pseudonym import load_repository_key, make_pseudonym
from kicc_ml.runs.folder import CONFIG, PREDICTIONS
from kicc_ml.runs.run_cohort import RunCohort


def evaluate(run: Path) -> Path:
    """Judge a run of :func:`outcome_run` by the repository beside it."""
    return evaluate_runs([run], run, {run: RunCohort(run.parent / "repo")})


def outcome_run(tmp_path: Path, reasons: dict[str, str] | None = None) -> Path:
    """A finished outcome run of two hospitals, and beside it the repository that it was made from."""
    repo, run = tmp_path / "repo", tmp_path / "run"
    lines = ["site,patient_id,age_years,sex,icu"]
    for site in ("seoul", "busan"):
        (repo / site).mkdir(parents=True)
        lines += [f"{site},{number},60,M,{number % 2}" for number in range(20)]
    (repo / "clinical.csv").write_text("\n".join(lines) + "\n")
    key = load_repository_key(repo)
    rng = np.random.default_rng(0)
    for site in ("seoul", "busan"):
        folder = run / site
        folder.mkdir(parents=True)
        cohort = {"_target_": "kicc_ml.cohort.repository.repository"}
        split = {"_target_": "kicc_ml.cohort.splits.leave_one_site_out", "fold": site}
        (folder / CONFIG).write_text(yaml.safe_dump({"cohort": cohort, "split": split, "seed": 1}))
        label = np.arange(20) % 2
        rows = pd.DataFrame(
            {
                "case_id": [make_case_id(site, make_pseudonym(key, site, str(number))) for number in range(20)],
                **{"site": site, "fold": site, "endpoint": "icu", "model": "network"},
                **{"probability": np.clip(0.3 + 0.3 * label + rng.normal(0, 0.1, 20), 0, 1), "label": label},
            }
        )
        write_table(folder / PREDICTIONS, rows)
        write_json(folder / "quarantine.json", reasons or {})
    return run


def hospital(folder: Path) -> Path:
    """A repository of one hospital with two patients and no image."""
    (folder / "seoul").mkdir(parents=True)
    (folder / "clinical.csv").write_text("site,patient_id,age_years,sex,icu\nseoul,1,60,M,1\nseoul,2,50,F,0\n")
    return folder
