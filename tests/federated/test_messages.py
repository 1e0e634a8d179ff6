import numpy as np
import pytest

from kicc_ml.federated.messages import REFUSED, Message, NotSent, check_answer

WEIGHT = np.ones((2, 3), np.float32)
QUESTION = Message({}, {"linear.weight": WEIGHT})


def test_numbers_and_the_weights_that_came_may_leave():
    answer = Message({"patients": 12, "loss": 0.5, "icu": {"area": None}}, {"linear.weight": WEIGHT * 2})
    assert check_answer(answer, QUESTION) is answer


@pytest.mark.parametrize(
    "figures",
    [
        {"name": "Kim Minji"},
        {"rows": [61.0, 45.0]},
        {"ages": np.array([61.0, 45.0])},
        {"loss": float("nan")},
        {"icu": {"case_id": "seoul_1"}},
        {f"patient {number}": 1.0 for number in range(10_001)},
        {REFUSED: "no", "name": "Kim Minji"},
    ],
)
def test_a_text_a_list_or_a_number_for_each_patient_is_not_sent(figures: dict):
    with pytest.raises(NotSent):
        check_answer(Message(figures), QUESTION)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("scan", np.ones((2, 3), np.float32)),
        ("linear.weight", np.ones((64, 64, 20), np.float32)),
        ("linear.weight", np.ones((2, 3), np.float64)),
    ],
)
def test_an_array_that_is_no_weight_of_the_network_is_not_sent(name: str, array: np.ndarray):
    with pytest.raises(NotSent):
        check_answer(Message({}, {name: array}), QUESTION)
