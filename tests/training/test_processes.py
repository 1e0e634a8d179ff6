"""Which environment Lightning gets, whatever Slurm says of the job it finds itself in."""

import pytest
from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment

from kicc_ml.core.errors import UserError
from kicc_ml.training.processes import environment_for, is_first_process, processes_of, strategy_in
from tests.support.slurm import slurm


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_lightning_starts_processes_itself_where_slurm_started_one(monkeypatch: pytest.MonkeyPatch, processes: int):
    slurm(monkeypatch, tasks=1)
    assert isinstance(environment_for(processes), LightningEnvironment)
    assert is_first_process(processes)


def test_a_batch_script_without_srun_is_one_process_for_all_its_tasks(monkeypatch: pytest.MonkeyPatch):
    slurm(monkeypatch, tasks=2)
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS")
    assert isinstance(environment_for(2), LightningEnvironment)


@pytest.mark.parametrize(
    ("processes", "tasks", "remedy"),
    [(1, 2, "1 process; start one task$"), (4, 2, "4 processes; start one task, or .*--ntasks-per-node=4$")],
)
def test_another_number_of_tasks_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, processes: int, tasks: int, remedy: str
):
    slurm(monkeypatch, tasks)
    with pytest.raises(UserError, match=f"Slurm started {tasks} tasks for a training with {remedy}"):
        environment_for(processes)


@pytest.mark.parametrize("task", [0, 1])
def test_a_task_for_each_process_is_taken_as_such_and_never_requeued(monkeypatch: pytest.MonkeyPatch, task: int):
    slurm(monkeypatch, tasks=2, task=task)
    environment = environment_for(2)
    assert isinstance(environment, SLURMEnvironment)
    assert not environment.auto_requeue
    assert is_first_process(2) == (task == 0)


def test_where_slurm_started_the_processes_lightning_starts_none(monkeypatch: pytest.MonkeyPatch):
    slurm(monkeypatch, tasks=2)
    assert strategy_in(environment_for(2), {"strategy": "ddp_spawn"}) == {"strategy": "ddp"}
    assert strategy_in(environment_for(2), {"strategy": "fsdp"}) == {}
    slurm(monkeypatch, tasks=1)
    assert strategy_in(environment_for(1), {"strategy": "ddp_spawn"}) == {}


def test_tasks_that_lightning_refuses_are_a_users_error(monkeypatch: pytest.MonkeyPatch):
    slurm(monkeypatch, tasks=2, per_node=False)
    with pytest.raises(UserError, match="ntasks-per-node"):
        environment_for(2)


def test_outside_of_slurm_it_is_lightnings_own(monkeypatch: pytest.MonkeyPatch):
    for name in ("SLURM_NTASKS", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    assert isinstance(environment_for(2), LightningEnvironment)


@pytest.mark.parametrize(
    ("settings", "processes"),
    [
        ({}, 1),
        ({"devices": 2}, 2),
        ({"devices": "2"}, 2),
        ({"devices": [0, 3]}, 2),
        ({"devices": 2, "num_nodes": 3}, 6),
    ],
)
def test_devices_times_nodes_are_processes(settings: dict, processes: int):
    assert processes_of(settings) == processes
