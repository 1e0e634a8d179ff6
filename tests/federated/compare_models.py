"""What does not sharing data cost? Federated, pooled and local models on a synthetic consortium of eight hospitals.

    python -m tests.federated.compare_models FOLDER [outcome] [lesion_ct]

Each hospital is held out in turn. All models are the same network, with the same number of passes over the patients:
``pooled`` trains on the patients of the other seven in one place; ``fedavg`` and, for outcomes, ``fedprox`` average
after every two; ``local`` is the network of each of the seven alone, judged at the held-out one: their mean.
The intervals are over the eight hospitals; those of a difference are of paired hospitals.
"""

import logging
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from kicc_ml.federated.coordinator import begin, judge, train
from kicc_ml.federated.hospital import Hospital
from kicc_ml.federated.local_training import Agreed, make_data, train_round
from kicc_ml.federated.networks import build_network, get_weights, set_weights
from kicc_ml.federated.plan import Plan
from kicc_ml.synthetic.repository import synthesize
from tests.support.federation import Wire

SITES = 8
PATIENTS = {"outcome": 1200, "lesion_ct": 130}
PLANS = {
    "outcome": Plan(rounds=6, epochs=2, learning_rate=3e-3, batch_size=16),
    "lesion_ct": Plan(
        "lesion_ct",
        rounds=6,
        epochs=2,
        channels=(8, 16, 16),
        patches=16,
        batch_size=4,
        spacing_mm=(8.0, 8.0, 12.0),
        patch_size=(32, 32, 16),
        learning_rate=5e-3,
    ),
}
#: The weight of the proximal term, in the range that its authors tried.
MU = 0.1
MODELS = ("fedavg", "fedprox", "pooled", "local")


def write_hospitals(folder: Path, task: str) -> dict[str, Hospital]:
    """Write the consortium once, and divide it: each hospital its own folder, table and masks."""
    pooled = folder / task / "pooled"
    if not pooled.exists():
        images = {"matrix": 32, "slices": 16} if task == "lesion_ct" else {"tables_only": True}
        synthesize(pooled, "kicc19", 1, sites=SITES, patients=PATIENTS[task], **images)
    table = pd.read_csv(pooled / "clinical.csv", dtype=str)
    hospitals = {}
    for number, (site, rows) in enumerate(table.groupby("site")):
        root = folder / task / f"hospital-{number + 1}"
        root.mkdir(exist_ok=True)
        rows.to_csv(root / "clinical.csv", index=False)
        for name in (str(site), "masks"):
            if (pooled / name).exists() and not (root / name).exists():
                shutil.copytree(pooled / name, root / name, copy_function=os.link)
        hospitals[root.name] = Hospital(root, folder / task / "stores" / root.name)
    return hospitals


def train_in_one_place(
    wire: Wire, plan: Plan, sites: Sequence[str], store: Path
) -> tuple[Mapping[str, np.ndarray], Agreed]:
    """Train on all patients of some hospitals together, from the weights that their federation would begin with."""
    agreed, start, _ = begin(wire, plan, sites, least=1)
    hospitals = [wire.hospitals[site] for site in sites]
    cases = [case for one in hospitals for case in (one.cases if plan.task == "outcome" else one.scans)]
    whole = replace(plan, epochs=plan.rounds * plan.epochs, patches=plan.patches * len(sites))
    network = build_network(whole, agreed.sizes)
    set_weights(network, start)
    train_round(whole, network, make_data(whole, agreed, cases, store))
    return get_weights(network), agreed


def judge_fold(
    wire: Wire, plan: Plan, held_out: str, alone: Mapping[str, Any], store: Path
) -> dict[str, dict[str, float]]:
    """The figures of each model at the held-out hospital, by endpoint or region."""
    others = [site for site in wire.hospitals if site != held_out]
    found = {"fedavg": train(wire, plan, others)}
    if plan.task == "outcome":
        found["fedprox"] = train(wire, replace(plan, proximal=MU), others)
    weights: dict[str, tuple[Mapping[str, np.ndarray], Agreed]]
    weights = {name: (one.weights, one.agreed) for name, one in found.items()}
    weights["pooled"] = train_in_one_place(wire, plan, others, store)
    weights |= {f"local {site}": alone[site] for site in others}
    figures = {name: read_figures(judge(wire, plan, agreed, one, held_out)) for name, (one, agreed) in weights.items()}
    local = pd.DataFrame([one for name, one in figures.items() if name.startswith("local")]).mean()
    return {name: figures[name] for name in MODELS[:3] if name in figures} | {"local": local.to_dict()}


def read_figures(judged: Mapping[str, Any]) -> dict[str, float]:
    return {name: one.get("area", one.get("mean")) for name, one in judged.items() if one}


def describe(values: pd.Series) -> str:
    """Mean over hospitals with the 95 % interval of Student's t."""
    known = values.dropna()
    half = stats.t.ppf(0.975, len(known) - 1) * known.std() / len(known) ** 0.5
    return f"{known.mean():.3f} ({known.mean() - half:.3f} to {known.mean() + half:.3f}, {len(known)} hospitals)"


def compare(folder: Path, task: str) -> None:
    plan, wire = PLANS[task], Wire(write_hospitals(folder, task))
    store = folder / task / "stores" / "pooled"
    alone = {site: train_in_one_place(wire, plan, [site], store) for site in wire.hospitals}
    rows = []
    for held_out in wire.hospitals:
        for model, figures in judge_fold(wire, plan, held_out, alone, store).items():
            rows += [{"held_out": held_out, "model": model, "of": name, "value": one} for name, one in figures.items()]
        wire.sent.clear()
        print(held_out, file=sys.stderr, flush=True)
        pd.DataFrame(rows).to_csv(folder / f"{task}.csv", index=False)
    table = pd.DataFrame(rows).pivot_table(index=["of", "held_out"], columns="model", values="value")
    for name, values in table.groupby(level="of"):
        for model in [one for one in MODELS if one in table]:
            print(f"{name} {model}: {describe(values[model])}")
        for model in [one for one in MODELS[:2] if one in table]:
            for other in MODELS[2:]:
                print(f"{name} {model} less {other}: {describe(values[model] - values[other])}")


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    for each in sys.argv[2:] or ["outcome", "lesion_ct"]:
        compare(Path(sys.argv[1]), each)
