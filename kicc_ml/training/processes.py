"""Which process of a training does what: on one machine, and as tasks of a Slurm job."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning_fabric.plugins.environments import ClusterEnvironment, LightningEnvironment, SLURMEnvironment

from kicc_ml.core.errors import UserError

#: Set by Slurm for each task of a job step: how many tasks there are, and the number of this one.
TASKS, TASK = "SLURM_NTASKS", "SLURM_PROCID"


def environment_for(processes: int) -> ClusterEnvironment:
    """The environment of Lightning for a training on so many processes.

    Lightning would choose Slurm's whenever it finds itself in a job, and with it write checkpoints into the working
    directory on a signal and resume any it finds there. Slurm's is chosen only where Slurm has started one task for
    each process of the training (``hydra.launcher.tasks_per_node=2`` with ``trainer.devices=2``), without requeueing:
    a training that was stopped is started again by its user. Else Lightning starts the processes itself.
    """
    if processes > 1 and os.environ.get(TASKS) == str(processes):
        try:
            return SLURMEnvironment(auto_requeue=False)
        except RuntimeError as error:  # it refuses a way of starting tasks, and says which to take
            raise UserError(str(error)) from error
    return LightningEnvironment()


def strategy_in(environment: ClusterEnvironment, trainer: Mapping[str, Any]) -> dict[str, str]:
    """The strategy to train by where Slurm has started the processes: one that starts none itself."""
    started = isinstance(environment, SLURMEnvironment) and trainer.get("strategy") == "ddp_spawn"
    return {"strategy": "ddp"} if started else {}


def processes_of(trainer: Mapping[str, Any]) -> int:
    """How many processes the settings of a Lightning trainer ask for."""
    devices, nodes = trainer.get("devices", 1), trainer.get("num_nodes", 1)
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        return len(devices) * nodes
    if str(devices).isdecimal():
        return int(devices) * nodes
    return max(1, torch.cuda.device_count()) * nodes  # "auto" and -1 are all there are


def is_first_process(processes: int) -> bool:
    """Whether this process is the one that holds the fold and writes its results."""
    return isinstance(environment_for(processes), LightningEnvironment) or os.environ.get(TASK, "0") == "0"
