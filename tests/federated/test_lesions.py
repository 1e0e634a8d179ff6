"""Segmentation at three hospitals in this process, with small synthetic scans."""

import numpy as np
import pytest

from kicc_ml.federated.coordinator import combine, judge, train
from kicc_ml.federated.hospital import Hospital
from kicc_ml.federated.networks import build_network, get_weights
from kicc_ml.federated.plan import Plan
from kicc_ml.synthetic.repository import synthesize
from tests.support.federation import Wire

pytestmark = pytest.mark.slow

SMALL = {"channels": (4, 8), "patches": 8, "batch_size": 2, "spacing_mm": (8.0, 8.0, 12.0), "patch_size": (32, 32, 16)}


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Wire:
    folder = tmp_path_factory.mktemp("hospitals")
    for seed, site in enumerate(("north", "east", "south")):
        synthesize(folder / site, "demo", seed + 1, sites=1, patients=8, matrix=32, slices=16)
    return Wire({site: Hospital(folder / site, folder / "stores" / site) for site in ("north", "east", "south")})


@pytest.mark.parametrize("norm", ["instance", "batch", "local_batch"])
def test_the_loss_of_regions_falls_over_three_rounds_and_the_held_out_hospital_judges(wire: Wire, norm: str):
    plan = Plan("lesion_ct", rounds=3, norm=norm, learning_rate=5e-3, **SMALL)  # type: ignore[arg-type]
    trained = train(wire, plan, ["north", "east"])
    assert all(trained.rounds[-1][site]["loss"] < trained.rounds[0][site]["loss"] for site in ("north", "east"))
    judged = judge(wire, plan, trained.agreed, trained.weights, "south")
    assert judged["lung"]["scans"] >= 5
    assert combine(plan, {"south": judged})["lung"]["these_hospitals"]["value"] == pytest.approx(judged["lung"]["mean"])
    of_statistics = {name for name in trained.weights if name.endswith(("running_mean", "running_var"))}
    assert bool(of_statistics) == (norm == "batch")


def test_statistics_that_stay_go_on_from_round_to_round_at_their_hospital(wire: Wire):
    plan = Plan("lesion_ct", rounds=2, norm="local_batch", **SMALL)  # type: ignore[arg-type]
    train(wire, plan, ["north", "east"])
    own = [wire.hospitals[site].last_network.state_dict() for site in ("north", "east")]
    name = next(one for one in own[0] if one.endswith("num_batches_tracked"))
    assert int(own[0][name]) == 2 * plan.patches // plan.batch_size  # of both rounds
    name = name.replace("num_batches_tracked", "running_mean")
    assert not np.allclose(own[0][name], own[1][name])
    assert name not in get_weights(build_network(plan, {}), plan.norm)
