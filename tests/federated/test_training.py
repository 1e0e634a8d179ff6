from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kicc_ml.core.errors import UserError
from kicc_ml.federated.coordinator import UNUSABLE, combine, judge, train
from kicc_ml.federated.hospital import WENT_WRONG, Hospital
from kicc_ml.federated.local_training import Agreed, make_data, train_round
from kicc_ml.federated.messages import REFUSED, SUMS, TRAIN, Message
from kicc_ml.federated.networks import average, build_network, get_weights
from kicc_ml.federated.plan import Plan
from kicc_ml.models.outcome import OutcomeNetwork
from tests.support.federation import Wire, make_cases, make_hospital, with_versions

SIZES = {"north": 12, "east": 30, "south": 18}
AGREED = Agreed(["age_years", "crp_mg_l"], ["icu", "death"])


@pytest.fixture
def wire(tmp_path: Path) -> Wire:
    cases = {site: make_cases(site, size, seed) for seed, (site, size) in enumerate(SIZES.items())}
    return Wire({site: make_hospital(own, tmp_path / site) for site, own in cases.items()})


def test_weights_are_averaged_by_patients():
    draw = np.random.default_rng(1)
    weights = {site: {"w": draw.normal(size=(3, 2)).astype(np.float32)} for site in SIZES}
    expected = np.average([weights[site]["w"] for site in SIZES], axis=0, weights=list(SIZES.values()))
    np.testing.assert_allclose(average(weights, SIZES)["w"], expected, rtol=1e-6)


def test_one_step_of_gradient_descent_at_hospitals_is_one_step_on_all_patients(wire: Wire, tmp_path: Path):
    # No dropout and one batch for everybody, so that gradients are means over patients and add up.
    plan = Plan(rounds=1, batch_size=100, learning_rate=0.1)
    descent = partial(torch.optim.SGD, weight_decay=0.0)
    start = without_dropout(build_network(plan, AGREED.sizes))
    everybody = [case for hospital in wire.hospitals.values() for case in hospital.cases]
    stepped = {}
    for site, cases in {"all": everybody, **{site: one.cases for site, one in wire.hospitals.items()}}.items():
        network = without_dropout(build_network(plan, AGREED.sizes))
        train_round(plan, network, make_data(plan, AGREED, cases, tmp_path / "volumes"), descent)
        stepped[site] = get_weights(network)
    pooled = stepped.pop("all")
    federated = average(stepped, SIZES)
    moved = max(float(np.abs(pooled[name] - value).max()) for name, value in get_weights(start).items())
    assert moved > 1e-3
    for name, value in pooled.items():
        np.testing.assert_allclose(federated[name], value, atol=1e-5 * max(1.0, float(np.abs(value).max())))


def without_dropout(network: torch.nn.Module) -> OutcomeNetwork:
    assert isinstance(network, OutcomeNetwork)
    network.modality_dropout = 0.0
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    network.set_inputs(torch.tensor([60.0, 40.0]), torch.tensor([12.0, 28.0]), torch.tensor([0.5, 0.5]))
    return network


def test_the_held_out_hospital_is_asked_nothing_in_its_fold_but_to_judge(wire: Wire):
    trained = train(wire, Plan(rounds=2), ["north", "east"])
    assert {site for _, site in wire.asked} == {"north", "east"}
    judged = judge(wire, Plan(), trained.agreed, trained.weights, "south")
    assert wire.asked[-1] == ("judge", "south")
    assert len([one for one in wire.asked if one[1] == "south"]) == 1
    combined = combine(Plan(), {"south": judged})
    assert 0 <= combined["icu"]["these_hospitals"]["value"] <= 1


def test_nothing_of_a_row_is_in_any_message(wire: Wire):
    trained = train(wire, Plan(rounds=1), ["north", "east"])
    judge(wire, Plan(), trained.agreed, trained.weights, "south")
    sent = repr([(message.figures, {k: v.tolist() for k, v in message.arrays.items()}) for message in wire.sent])
    assert "age_years" in sent  # names of columns travel, so the search sees what was sent
    for hospital in wire.hospitals.values():
        for case in hospital.cases:
            assert case.case_id not in sent
            assert not any(repr(float(value)) in sent for value in case.clinical.values())


def test_the_scaling_of_the_first_weights_is_that_of_all_training_patients(wire: Wire):
    trained = train(wire, Plan(rounds=1), list(SIZES))
    values = np.array(
        [[case.clinical[name] for name in AGREED.features] for one in wire.hospitals.values() for case in one.cases]
    )
    np.testing.assert_allclose(trained.weights["clinical.mean_f"], values.mean(0), rtol=1e-5)
    np.testing.assert_allclose(trained.weights["clinical.scale_f"], values.std(0), rtol=1e-5)


def test_a_hospital_that_falls_silent_is_left_out_and_the_rounds_go_on(wire: Wire):
    ended: list[int] = []

    def keep(number: int, weights: object) -> None:
        wire.silent.add("south")
        ended.append(number)

    trained = train(wire, Plan(rounds=3), list(SIZES), keep=keep)
    assert ended == [0, 1, 2]
    assert trained.lost == {"south": "no answer in time"}
    assert [sorted(one) for one in trained.rounds] == [["east", "north", "south"], ["east", "north"], ["east", "north"]]
    assert wire.asked.count((TRAIN, "south")) == 2


def test_too_few_hospitals_end_the_training_with_each_reason(wire: Wire):
    wire.silent |= {"north", "south"}
    with pytest.raises(
        UserError, match=r"1 of 3 hospitals answered, 2 are needed \(north: no answer.*south: no answer"
    ):
        train(wire, Plan(rounds=1), list(SIZES))


def test_what_goes_wrong_at_a_hospital_is_not_told_in_its_own_words(tmp_path: Path):
    secret = tmp_path / "Kim Minji 19600101"
    answer = Hospital(secret, tmp_path / "store").answer(SUMS, with_versions(Message()))
    assert answer.figures == {REFUSED: WENT_WRONG}
    assert not answer.arrays


def test_a_question_of_another_version_is_answered_by_a_refusal_alone(wire: Wire):
    answer = wire.hospitals["north"].answer(SUMS, Message({"versions": {"kicc_ml": "99.0"}}))
    assert set(answer.figures) == {REFUSED}
    assert "99.0" in answer.figures[REFUSED]


def test_the_proximal_term_keeps_weights_nearer_to_those_of_the_server(wire: Wire, tmp_path: Path):
    moved = {}
    for proximal in (0.0, 100.0):
        plan = Plan(epochs=3, learning_rate=1e-3, proximal=proximal)
        network = without_dropout(build_network(plan, AGREED.sizes))
        before = get_weights(network)
        data = make_data(plan, AGREED, wire.hospitals["east"].cases, tmp_path / "volumes")
        train_round(plan, network, data, torch.optim.SGD)
        moved[proximal] = sum(
            float(np.square(value - before[name]).sum()) for name, value in get_weights(network).items()
        )
    assert 0 < moved[100.0] < 0.9 * moved[0.0]


def test_a_hospital_with_fewer_than_five_patients_takes_no_part(wire: Wire, tmp_path: Path):
    wire.hospitals = {**wire.hospitals, "tiny": make_hospital(make_cases("tiny", 4, 9), tmp_path / "tiny")}
    trained = train(wire, Plan(rounds=1), [*SIZES, "tiny"])
    assert "fewer than 5 patients" in trained.lost["tiny"]
    assert "tiny" not in trained.rounds[0]


def test_weights_that_became_infinite_at_one_hospital_do_not_reach_the_average(wire: Wire):
    class Diverges(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            loss = super().step(closure)
            for weight in self.param_groups[0]["params"]:
                weight.data.fill_(float("inf"))
            return loss

    wire.hospitals["north"].optimizer = Diverges
    trained = train(wire, Plan(rounds=1, batch_size=64), list(SIZES))
    assert "the weights became infinite at this hospital" in trained.lost["north"]
    assert all(np.isfinite(array).all() for array in trained.weights.values())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda answer: Message({}, answer.arrays),
        lambda answer: Message({**answer.figures, "patients": "many"}, answer.arrays),
        lambda answer: Message(answer.figures, {}),
        lambda answer: Message(answer.figures, {name: array[..., :1] for name, array in answer.arrays.items()}),
        lambda answer: Message(answer.figures, {name: array * np.nan for name, array in answer.arrays.items()}),
    ],
    ids=["no figures", "no number", "no weights", "other shapes", "not finite"],
)
def test_a_hospital_that_answers_what_none_would_is_left_out_and_the_others_go_on(wire: Wire, spoil: Any):
    def ask(task: str, question: Message, sites: Sequence[str]) -> Mapping[str, Message]:
        answers = dict(wire(task, question, sites))
        return answers | ({"north": spoil(answers["north"])} if task == TRAIN else {})

    trained = train(ask, Plan(rounds=1, batch_size=64), list(SIZES))
    assert trained.lost == {"north": UNUSABLE}
    assert set(trained.rounds[0]) == {"east", "south"}
