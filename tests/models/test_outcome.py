"""Outcome prediction: missing is not zero, unknown is not negative."""

import numpy as np
import pytest
import torch
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from kicc_ml.models.outcome import ClinicalEncoder, OutcomeNetwork, OutcomeTask, masked_cross_entropy

FEATURES, ENDPOINTS = 3, 4


def clinical(patients: int = 40, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    table = rng.normal([60, 1.2, 30], [15, 0.5, 20], (patients, FEATURES))
    table[rng.random(table.shape) < 0.2] = np.nan
    return table


def as_tensor(table: np.ndarray) -> Tensor:
    return torch.from_numpy(table).float()


def batch(patients: int = 4, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "clinical_bf": as_tensor(clinical(patients)),
        "ct_bcxyz": torch.rand(patients, 1, 16, 16, 16, generator=generator),
        "ct_known_b": torch.ones(patients, dtype=torch.bool),
        "cxr_bcxy": torch.rand(patients, 1, 32, 32, generator=generator),
        "cxr_known_b": torch.ones(patients, dtype=torch.bool),
        "endpoints_be": (torch.rand(patients, ENDPOINTS, generator=generator) > 0.5).float(),
        "endpoints_known_be": torch.ones(patients, ENDPOINTS, dtype=torch.bool),
    }


def network(seed: int = 0, **settings: bool) -> OutcomeNetwork:
    torch.manual_seed(seed)
    built = OutcomeNetwork(FEATURES, ENDPOINTS, channels=(4, 8), width=8, **settings)
    built.fit_inputs(as_tensor(clinical()), torch.full((ENDPOINTS,), 0.3))
    for weight in (built.linear.weight, built.fuse[-1].weight, *built.missing.values()):  # as if trained: none at zero
        nn.init.normal_(weight)
    return built


def untrained() -> OutcomeNetwork:
    return OutcomeNetwork(FEATURES, ENDPOINTS, channels=(4, 8), width=8)


def test_clinical_inputs_are_imputed_and_scaled_as_scikit_learn_does():
    train, test = clinical(41, seed=1), clinical(30, seed=2)
    encoder = ClinicalEncoder(FEATURES, 8)
    encoder.fit(as_tensor(train))
    imputer = SimpleImputer(strategy="median").fit(train)
    expected = StandardScaler().fit(imputer.transform(train)).transform(imputer.transform(test))
    standardised = encoder.standardised(as_tensor(test)).numpy()
    np.testing.assert_allclose(standardised[:, :FEATURES], expected, atol=1e-4)
    np.testing.assert_array_equal(standardised[:, FEATURES:], np.isnan(test))


def test_a_feature_nobody_has_and_one_that_never_differs_stay_finite():
    train = clinical()
    train[:, 0], train[:, 1] = np.nan, 5.0
    encoder = ClinicalEncoder(FEATURES, 8)
    encoder.fit(as_tensor(train))
    values = encoder.standardised(as_tensor(train))
    assert values.isfinite().all()
    assert not values[:, :2].any()


def test_what_was_fitted_on_the_training_side_is_saved_with_the_weights():
    fitted, other = network(), network(seed=1)
    other.load_state_dict(fitted.state_dict())
    other.eval(), fitted.eval()
    torch.testing.assert_close(other(batch()), fitted(batch()), rtol=0, atol=0)


@pytest.mark.parametrize(("image", "known"), [("ct_bcxyz", "ct_known_b"), ("cxr_bcxy", "cxr_known_b")])
def test_the_pixels_of_an_image_a_patient_lacks_change_nothing(image: str, known: str):
    predictor = network().eval()
    lacking = batch()
    lacking[known][1] = False
    scribbled = lacking | {image: lacking[image].clone()}
    scribbled[image][1] = 7.0
    assert predictor(scribbled).equal(predictor(lacking))
    assert not predictor(lacking)[1].equal(predictor(batch())[1])  # but that it is missing does


def test_a_patient_is_predicted_alike_whoever_is_in_the_batch():
    predictor = network().eval()
    everybody = batch()
    alone = {name: value[2:3] for name, value in everybody.items()}
    torch.testing.assert_close(predictor(alone), predictor(everybody)[2:3], rtol=1e-5, atol=1e-5)


def test_nothing_is_learnt_from_the_pixels_of_a_missing_image():
    learner = network()
    lacking = batch()
    lacking["ct_known_b"][:] = False
    lacking["ct_bcxyz"].requires_grad_(True)
    learner(lacking).sum().backward()
    gradient = lacking["ct_bcxyz"].grad
    assert gradient is None or not gradient.any()


@pytest.mark.parametrize("settings", [{"ct": False}, {"cxr": False}, {"ct": False, "cxr": False}])
def test_a_modality_that_is_not_configured_is_not_asked_for(settings: dict[str, bool]):
    wanted = {name for name in ("ct", "cxr") if settings.get(name, True)}
    given = {name: value for name, value in batch().items() if name.split("_")[0] in {*wanted, "clinical"}}
    assert network(**settings).eval()(given).shape == (4, ENDPOINTS)


def test_an_unknown_endpoint_carries_no_gradient():
    logits = torch.randn(3, ENDPOINTS, requires_grad=True)
    known = torch.tensor([[1.0, 0, 1, 0], [0, 0, 1, 1], [1, 1, 1, 1]])
    masked_cross_entropy(logits, torch.ones(3, ENDPOINTS), known).backward()
    assert logits.grad is not None
    assert (logits.grad != 0).equal(known.bool())


def test_the_loss_is_the_plain_mean_over_known_endpoints_rare_ones_not_weighted_up():
    probability = np.array([[0.9, 0.2], [0.6, 0.3], [0.1, 0.5]])
    label = np.array([[1, 0], [0, 1], [0, 0]])
    known = np.array([[1, 1], [1, 0], [1, 1]])
    of_truth = np.where(label == 1, probability, 1 - probability)
    expected = -np.log(of_truth)[known == 1].mean()
    logits = torch.logit(torch.from_numpy(probability))
    loss = masked_cross_entropy(logits, torch.from_numpy(label).double(), torch.from_numpy(known).double())
    assert loss.item() == pytest.approx(expected)


def test_with_no_endpoint_known_the_loss_is_zero_not_nan():
    logits = torch.randn(2, ENDPOINTS, requires_grad=True)
    loss = masked_cross_entropy(logits, torch.zeros(2, ENDPOINTS), torch.zeros(2, ENDPOINTS))
    loss.backward()
    assert loss.item() == 0


def test_the_first_prediction_is_the_prevalence_of_each_endpoint_whoever_the_patient():
    prevalence_e = torch.tensor([0.25, 0.05, 0.5, 0.9])
    starting = untrained()
    starting.fit_inputs(as_tensor(clinical()), prevalence_e)
    torch.testing.assert_close(starting(batch()).sigmoid(), prevalence_e.expand(4, -1))


@pytest.mark.parametrize("prevalence", [0.0, 1.0])
def test_an_endpoint_with_one_class_starts_at_a_finite_logit(prevalence: float):
    starting = untrained()
    starting.fit_inputs(as_tensor(clinical()), torch.full((ENDPOINTS,), prevalence))
    assert starting.eval()(batch()).isfinite().all()


def test_an_empty_table_is_a_missing_one_and_its_imputed_values_change_nothing():
    predictor, patients = network().eval(), batch()
    patients["clinical_bf"][1] = float("nan")
    before = predictor(patients)
    predictor.clinical.median_f += 3.0
    after = predictor(patients)
    torch.testing.assert_close(after[1], before[1], rtol=0, atol=0)
    assert not after[0].equal(before[0])


@pytest.mark.parametrize("modality", ["clinical", "ct", "cxr"])
def test_each_modality_is_withheld_now_and_then_in_training_and_never_afterwards(modality: str):
    learner, patients = network().train(), without_all_but(modality, 400)
    nothing = without_all_but("nothing", 400)
    for layer in learner.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0  # of what is drawn in training, only what is withheld is left
    withheld_b = torch.isclose(learner(patients), learner(nothing), rtol=0, atol=1e-6).all(dim=1)
    assert 0.1 < withheld_b.float().mean() < 0.3
    afterwards = learner.eval()
    assert not torch.isclose(afterwards(patients), afterwards(nothing), rtol=0, atol=1e-6).all(dim=1).any()


def without_all_but(modality: str, patients: int) -> dict[str, Tensor]:
    """Patients who have one modality and no other."""
    found = batch(patients)
    found["clinical_bf"] = torch.full_like(found["clinical_bf"], 50.0 if modality == "clinical" else torch.nan)
    found["ct_known_b"] = torch.full((patients,), modality == "ct")
    found["cxr_known_b"] = torch.full((patients,), modality == "cxr")
    return found


def test_recalibration_moves_what_is_predicted_and_not_what_is_trained():
    predictor, patients = network(), batch()
    before = predictor.eval()(patients)
    predictor.set_recalibration([0.5, 0.0, -1.0, 0.0], [1.0, 0.5, 2.0, 1.0])
    intercept_e, slope_e = torch.tensor([0.5, 0.0, -1.0, 0.0]), torch.tensor([1.0, 0.5, 2.0, 1.0])
    torch.testing.assert_close(predictor(patients), intercept_e + slope_e * before)
    predictor.set_recalibration([0.0] * 4, [2.0] * 4)
    torch.testing.assert_close(predictor(patients), 2 * (intercept_e + slope_e * before))
    alike = network_alike(predictor)
    torch.manual_seed(0)
    trained = predictor.train()(patients)
    torch.manual_seed(0)
    torch.testing.assert_close(trained, alike(patients))


def network_alike(other: OutcomeNetwork) -> OutcomeNetwork:
    """The same weights without a recalibration."""
    state = other.state_dict() | {"intercept_e": torch.zeros(ENDPOINTS), "slope_e": torch.ones(ENDPOINTS)}
    alike = network()
    alike.load_state_dict(state)
    return alike.train()


def test_a_few_steps_fit_what_the_table_says():
    torch.manual_seed(0)
    task = OutcomeTask(network(ct=False, cxr=False), learning_rate=0.05, weight_decay=0.0)
    patients = batch(64)
    patients["endpoints_be"] = (patients["clinical_bf"][:, :1] > 60).float().expand(-1, ENDPOINTS).clone()
    optimizer = torch.optim.AdamW(task.parameters(), lr=0.05)

    def loss() -> Tensor:
        return masked_cross_entropy(task(patients), patients["endpoints_be"], patients["endpoints_known_be"].float())

    before = loss().item()
    for _ in range(60):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < before / 3
