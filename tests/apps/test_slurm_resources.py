"""What a job of Slurm asks for, from the trainer and from what the user states."""

from typing import Any

import pytest

from kicc_ml.apps.configuration import compose_configuration
from kicc_ml.apps.launching import launcher_of
from kicc_ml.apps.slurm_resources import parameters_of
from kicc_ml.core.errors import UserError

pytest.importorskip("submitit", reason="the extra kicc_ml[slurm] is not installed")


def asked(*settings: str) -> dict[str, Any]:
    typed = ["experiment=lesion_ct", "hydra/launcher=slurm", *settings]
    name, launcher = launcher_of(typed)
    assert name == "slurm"
    return parameters_of(compose_configuration("train", typed), launcher)


@pytest.mark.parametrize(
    ("settings", "minutes"),
    [
        (("trainer.max_time=00:02:30:00",), 210),
        (("trainer.max_time=01:00:00:30",), 24 * 60 + 1 + 60),
        (("trainer.max_time={hours: 3}",), 240),
        (("trainer.max_time=null", "hydra.launcher.timeout_min=90"), 90),
        (("trainer.max_time=00:02:30:00", "hydra.launcher.timeout_min=90"), 90),
    ],
)
def test_the_time_limit_is_that_of_the_training_and_an_hour(settings: tuple[str, ...], minutes: int):
    assert asked(*settings)["timeout_min"] == minutes


def test_a_training_without_a_limit_needs_one_for_its_job():
    with pytest.raises(UserError, match=r"hydra\.launcher\.timeout_min=MINUTES"):
        asked("trainer.max_time=null")


@pytest.mark.parametrize(
    ("settings", "nodes", "tasks", "gpus", "cpus"),
    [
        (("trainer=cpu",), 1, 1, None, 1),
        (("trainer=cpu", "data.num_workers=3"), 1, 1, None, 4),
        (("trainer=gpu",), 1, 1, 1, 1),
        (("trainer=gpu", "data.num_workers=7", "hydra.launcher.cpus_per_task=4"), 1, 1, 1, 4),
        (("trainer=gpu", "hydra.launcher.gres='gpu:a100:1'"), 1, 1, None, 1),
        (("trainer=ddp", "data.num_workers=3"), 1, 1, 2, 8),
        (("trainer=ddp", "trainer.devices=4", "hydra.launcher.tasks_per_node=4", "data.num_workers=1"), 1, 4, 4, 2),
        (("trainer=ddp", "+trainer.num_nodes=3", "data.num_workers=1"), 3, 2, 2, 2),
    ],
)
def test_nodes_tasks_gpus_and_processors_follow_the_trainer(
    settings: tuple[str, ...], nodes: int, tasks: int, gpus: int | None, cpus: int
):
    found = asked(*settings)
    assert (found["nodes"], found["tasks_per_node"], found.get("gpus_per_node"), found["cpus_per_task"]) == (
        nodes,
        tasks,
        gpus,
        cpus,
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("trainer=ddp", "hydra.launcher.tasks_per_node=3"), r"needs .*nodes=1 and .*tasks_per_node=2"),
        (("trainer=gpu", "hydra.launcher.nodes=2"), r"trainer\.num_nodes=1 .* needs hydra\.launcher\.nodes=1"),
        (("trainer=gpu", "trainer.devices=auto"), r"a number of GPUs.*trainer\.devices=2"),
        (("trainer=gpu", "trainer.devices=-1"), r"a number of GPUs"),
    ],
)
def test_what_contradicts_the_trainer_is_refused(settings: tuple[str, ...], message: str):
    with pytest.raises(UserError, match=message):
        asked(*settings)


def test_settings_of_the_cluster_are_handed_on_by_the_names_of_the_plug_in():
    found = asked(
        "hydra.launcher.partition=long",
        "hydra.launcher.account=kicc",
        "hydra.launcher.mem_gb=64",
        "hydra.launcher.setup=['module load cuda']",
        "+hydra.launcher.additional_parameters.mail-type=END",
    )
    assert (found["slurm_partition"], found["slurm_account"], found["mem_gb"]) == ("long", "kicc", 64)
    assert found["slurm_setup"][0] == "module load cuda"
    assert found["slurm_additional_parameters"] == {"requeue": True, "mail-type": "END"}
