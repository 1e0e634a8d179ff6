"""The processes of a training: on one machine, or as tasks of a Slurm job."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning_fabric.plugins.environments import ClusterEnvironment, LightningEnvironment, SLURMEnvironment

from kicc_ml.core.errors import UserError
from kicc_ml.core.shown import format_count

#: srun sets these for each task that it starts: the number of tasks, and the index of this task.
TASKS, TASK = "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"


def count_tasks() -> int:
    """Count the processes that Slurm has started beside this one, it included.

    What a job has asked for (``SLURM_NTASKS``) does not tell: without ``srun``, one process is started for all tasks.
    """
    return int(os.environ.get(TASKS, "1"))


def environment_for(processes: int) -> ClusterEnvironment:
    """Choose Lightning's environment for a training with this number of processes.

    Inside a Slurm job, Lightning would always choose its Slurm environment. That one writes checkpoints into the
    working directory on a signal, and resumes any that it finds there. Here it is chosen only if Slurm has started one
    task for each process of the training (``hydra.launcher.tasks_per_node=2`` with ``trainer.devices=2``), and without
    requeueing, which is Slurm's affair. Where there is one task, Lightning starts the processes itself.

    Raises:
        UserError: Slurm started another number of tasks, or in a way that Lightning does not serve.
    """
    tasks = count_tasks()
    _refuse_other_tasks(tasks, processes)
    if processes > 1 and tasks == processes:
        try:
            return SLURMEnvironment(auto_requeue=False)
        except RuntimeError as error:  # Slurm refuses some ways of starting tasks, and names the right one
            raise UserError(str(error)) from error
    return LightningEnvironment()


def _refuse_other_tasks(tasks: int, processes: int) -> None:
    if tasks in (1, processes):
        return
    remedy = "one task" if processes == 1 else f"one task, or one for each process with --ntasks-per-node={processes}"
    count = format_count(processes, "process", "processes")
    raise UserError(f"Slurm started {tasks} tasks for a training with {count}; start {remedy}")


def strategy_in(environment: ClusterEnvironment, trainer: Mapping[str, Any]) -> dict[str, str]:
    """Choose the strategy ``ddp``, which starts no processes, if Slurm has started them; else keep the settings."""
    started = isinstance(environment, SLURMEnvironment) and trainer.get("strategy") == "ddp_spawn"
    return {"strategy": "ddp"} if started else {}


def processes_of(trainer: Mapping[str, Any]) -> int:
    """Compute the number of processes that the settings of a Lightning trainer ask for."""
    devices, nodes = trainer.get("devices", 1), trainer.get("num_nodes", 1)
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        return len(devices) * nodes
    if str(devices).isdecimal():
        return int(devices) * nodes
    return max(1, torch.cuda.device_count()) * nodes  # "auto" and -1 mean all devices


def is_first_process(processes: int) -> bool:
    """Tell whether this process holds the fold and writes its results."""
    return isinstance(environment_for(processes), LightningEnvironment) or os.environ.get(TASK, "0") == "0"
