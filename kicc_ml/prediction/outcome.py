"""Outcome probabilities of the held-out patients of a fold, by its network and by the baselines."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning_fabric.utilities import move_data_to_device
from scipy.special import expit
from torch import nn

from kicc_ml.core.types import Case, index_by_id
from kicc_ml.data.batches import loader
from kicc_ml.data.datamodule import PatientDataModule
from kicc_ml.evaluation.rows import find_one_class_reason
from kicc_ml.models.baselines.clinical_model_as_numbers import in_numbers
from kicc_ml.models.baselines.nested import Predicted, blend_models, inner_groups
from kicc_ml.models.baselines.recalibration import fit_recalibration, operating_point
from kicc_ml.models.baselines.tabular import baseline_predictions, clinical_bf, columns_of, endpoints_be
from kicc_ml.models.outcome import FitsInputs, Recalibrates
from kicc_ml.models.precision import device_of
from kicc_ml.runs.folder import CLINICAL_MODEL, About, fold_folder, save_plain

#: What ``blend`` is made of, as far as a fold has it: images, the table, and what a segmentation measured on CT.
BLENDED = ("network", "clinical", "extent")

COLUMNS = ["case_id", "site", "fold", "endpoint", "model", "probability", "label", "operating_point"]


def held_out_outcome(
    network: nn.Module | None, about: About, data: PatientDataModule, run_dir: Path
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Predict probabilities of the fold's test patients, by the network if there is one, every baseline, and ``blend``.

    The blend combines the models ``BLENDED``, with weights fitted on the fold's validation patients.

    The baselines are fitted on training and validation patients together, because the validation patients select
    nothing for them. The clinical model is saved in the fold's folder, for new patients.

    Args:
        network: the trained network; None for the baselines alone.
        about: what the fold's training cases determine (:func:`kicc_ml.runs.folder.about_data`).
        data: the data of the fold, after ``setup``.
        run_dir: the run folder.

    Returns:
        One row per prediction with the columns ``COLUMNS``, and no quarantined cases. Cells are empty for an unknown
        label, for an operating point that could not be chosen inside the fold, and for the probability of an endpoint
        without both outcomes on the training side: nothing was learnt, and a constant could be mistaken for a risk.
    """
    test, fitting = (select_cases(data, sides) for sides in (("test",), ("train", "val")))
    of_network = [] if network is None else network_predictions(network, data, test)
    predicted = {}
    for column, endpoint in enumerate(data.endpoints):
        models = {"network": of_network[column]} if of_network else {}
        predicted[endpoint] = _with_baselines(models, endpoint, fitting, test, about.features)
    save_clinical_models(fold_folder(run_dir, data.split.fold), about, predicted)
    rows = [
        _rows(test, data.split.fold, endpoint, model, one)
        for endpoint, models in predicted.items()
        for model, one in models.items()
    ]
    return pd.concat(rows, ignore_index=True), {}


def _with_baselines(
    models: Mapping[str, Predicted],
    endpoint: str,
    fitting: Sequence[Case],
    test: Sequence[Case],
    features: Sequence[str],
) -> dict[str, Predicted]:
    """Add every baseline to the models of an endpoint, and ``blend`` if there is a network."""
    label_b = endpoints_be(fitting, [endpoint])[:, 0]
    fitting_bf, test_bf = clinical_bf(fitting, features), clinical_bf(test, features)
    groups, marks = inner_groups(fitting), len({case.site for case in fitting}) == 1
    found = {**models, **baseline_predictions(fitting_bf, label_b, groups, test_bf, features, marks)}
    if {"network", "clinical"} <= set(found) and _learnable(label_b):
        found["blend"] = blend_models([found[name] for name in BLENDED if name in found], label_b)
    return found


def _learnable(label_b: np.ndarray) -> bool:
    """Tell whether both outcomes occur among the known labels."""
    return not find_one_class_reason(label_b[~np.isnan(label_b)])


def save_clinical_models(folder: Path, about: About, predicted: Mapping[str, Mapping[str, Predicted]]) -> None:
    """Save the clinical model of each endpoint in the fold's folder; that of an earlier training is removed.

    Args:
        folder: the fold's folder.
        about: the description of the fold, with its features.
        predicted: the predictions by endpoint, then by model. An endpoint without a fitted clinical model is left out.
    """
    (folder / CLINICAL_MODEL).unlink(missing_ok=True)
    features = [about.features[column] for column in columns_of(about.features).get("clinical", ())]
    fitted = {endpoint: models["clinical"].fitted for endpoint, models in predicted.items() if "clinical" in models}
    models = {endpoint: in_numbers(model, features) for endpoint, model in fitted.items() if model}
    if models:
        save_plain(folder, CLINICAL_MODEL, about, models)


def network_predictions(network: nn.Module, data: PatientDataModule, cases: Sequence[Case]) -> list[Predicted]:
    """Predict with the network; return one result per endpoint.

    The operating point is chosen on the fold's validation patients, the only patients of the training side whom the
    network did not learn from.
    """
    train, val = (select_cases(data, (side,)) for side in ("train", "val"))
    val_be, probability_be = (outcome_probabilities(network, data, side) for side in (val, cases))
    label_be, train_be = endpoints_be(val, data.endpoints), endpoints_be(train, data.endpoints)
    for column in range(len(data.endpoints)):
        if not _learnable(train_be[:, column]):
            probability_be[:, column] = val_be[:, column] = np.nan
    inner_ne = np.concatenate([np.full((len(train), len(data.endpoints)), np.nan), val_be])
    return [
        Predicted(
            probability_be[:, column], operating_point(val_be[:, column], label_be[:, column]), inner_ne[:, column]
        )
        for column in range(len(data.endpoints))
    ]


@torch.inference_mode()
def outcome_probabilities(network: nn.Module, data: PatientDataModule, cases: Sequence[Case]) -> np.ndarray:
    """Compute (case, endpoint) probabilities of a fold's network; log odds are averaged over the images of a case.

    The computation runs on the device of the network, in the precision of its training if that was in this process.
    """
    network.eval()
    placed = [(place, view) for place, case in enumerate(cases) for view in _readable_views(case, data)]
    batches = loader(data.dataset([view for _, view in placed]), data.batch_size, data.num_workers) if cases else ()
    device = device_of(network)
    with data.trainer.precision_plugin.forward_context() if data.trainer else nullcontext():
        odds_ve = [network(move_data_to_device(batch, device)).float().cpu().numpy() for batch in batches]
    total_be, place_v = np.zeros((len(cases), len(data.endpoints))), np.array([place for place, _ in placed], int)
    np.add.at(total_be, place_v, np.concatenate([total_be[:0], *odds_ve]))
    return expit(total_be / np.bincount(place_v, minlength=len(cases))[:, None])


def _readable_views(case: Case, data: PatientDataModule) -> list[Case]:
    """Select the case and its other views, without views whose image could not be prepared."""
    return [view for view in case.views if view is case or view.case_id not in data.quarantined]


def fit_inputs(network: FitsInputs, cases: Sequence[Case], features: Sequence[str], endpoints: Sequence[str]) -> None:
    """Fit scaling and imputation, and start at the prevalence; on the fold's training cases alone.

    Args:
        network: the network to prepare.
        cases: the fold's training cases.
        features: the columns of the clinical table, in the network's order.
        endpoints: the endpoints, in the network's order.
    """
    prevalence_e = torch.from_numpy(endpoints_be(cases, endpoints)).nanmean(0).nan_to_num(0.5).float()
    network.fit_inputs(torch.from_numpy(clinical_bf(cases, features)).float(), prevalence_e)


def recalibrate(network: nn.Module, data: PatientDataModule) -> None:
    """Fit the network's recalibration, if it has one, on the fold's validation patients, on whom nothing was trained.

    They selected the checkpoint, one among a few, so their loss is slightly too low.
    """
    if not isinstance(network, Recalibrates):
        return
    val = select_cases(data, ("val",))
    val_be, label_be = outcome_probabilities(network, data, val), endpoints_be(val, data.endpoints)
    fitted = [fit_recalibration(val_be[:, column], label_be[:, column]) for column in range(len(data.endpoints))]
    network.set_recalibration([one.intercept for one in fitted], [one.slope for one in fitted])


def select_cases(data: PatientDataModule, sides: Sequence[str]) -> list[Case]:
    """Select the cases on some sides (``train``, ``val``, ``test``) of a fold, in its order."""
    cases = index_by_id(data.cases)
    return [cases[case_id] for side in sides for case_id in getattr(data.split, side)]


def _rows(cases: Sequence[Case], fold: str, endpoint: str, model: str, one: Predicted) -> pd.DataFrame:
    rows = pd.DataFrame({"case_id": [case.case_id for case in cases], "site": [case.site for case in cases]})
    label_b = endpoints_be(cases, [endpoint])[:, 0]
    return rows.assign(
        fold=fold,
        endpoint=endpoint,
        model=model,
        probability=one.probability_b,
        label=label_b,
        operating_point=one.operating_point,
    )[COLUMNS]
