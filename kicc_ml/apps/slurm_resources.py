"""What a job of Slurm asks for, from the settings of the trainer."""

import math
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning.callbacks import Timer

from kicc_ml.core.errors import UserError
from kicc_ml.training.processes import processes_of

#: Minutes of a job beside the training itself: baselines and predictions, on a busy file system.
MARGIN_MIN = 60
#: Settings of the launcher that are not handed to submitit.
NOT_SUBMITTED = frozenset({"_target_", "submitit_folder", "max_num_timeout", "name"})
#: Names that submitit has for all kinds of clusters; the others are Slurm's alone.
OF_ALL_CLUSTERS = frozenset(
    {"timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes", "stderr_to_stdout"}
)

#: Parameters of a job that asks for GPUs.
OF_GPUS = frozenset({"gpus_per_node", "gpus_per_task", "cpus_per_gpu", "mem_per_gpu", "gres"})
ADDITIONAL = "slurm_additional_parameters"


def parameters_of(cfg: DictConfig, launcher: Mapping[str, Any]) -> dict[str, Any]:
    """Compute the parameters of a fold's job for submitit: what the launcher states, completed from the trainer.

    Args:
        cfg: the configuration of the run.
        launcher: the settings of ``configs/hydra/launcher/slurm.yaml``.

    Raises:
        UserError: launcher and trainer contradict each other, or neither limits the time.
    """
    stated = {key: value for key, value in launcher.items() if key not in NOT_SUBMITTED}
    stated |= _places_of(cfg.trainer, stated)
    stated["timeout_min"] = stated["timeout_min"] or _minutes_of(cfg.trainer) + MARGIN_MIN
    per_task = max(1, processes_of(cfg.trainer) // (stated["nodes"] * stated["tasks_per_node"]))
    stated["cpus_per_task"] = stated["cpus_per_task"] or per_task * (1 + (cfg.data.get("num_workers") or 0))
    stated["setup"] = [*(stated.get("setup") or []), "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK"]
    stated["additional_parameters"] = {"requeue": True} | (stated.get("additional_parameters") or {})
    return {key if key in OF_ALL_CLUSTERS else f"slurm_{key}": value for key, value in stated.items()}


def parameters_without_gpu(parameters: Mapping[str, Any], additional: Mapping[str, Any]) -> dict[str, Any]:
    """Compute the parameters of a job that prepares or reports: one task on one node, without a GPU.

    Args:
        parameters: those of a fold's job (:func:`parameters_of`).
        additional: more options of ``sbatch``; they win over those of the user.
    """
    kept = {key: value for key, value in parameters.items() if key.removeprefix("slurm_") not in OF_GPUS}
    return add_options(kept | {"nodes": 1, "tasks_per_node": 1}, additional)


def add_options(parameters: Mapping[str, Any], additional: Mapping[str, Any]) -> dict[str, Any]:
    """Add options of ``sbatch`` to the parameters of a job; they win over those of the user."""
    return {**parameters, ADDITIONAL: parameters[ADDITIONAL] | additional}


def _places_of(trainer: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """Nodes, tasks and GPUs: on one node a task starts the processes itself, on several each process is a task."""
    nodes, on_gpus = trainer.get("num_nodes", 1), trainer.get("accelerator") in ("gpu", "cuda")
    if on_gpus and str(trainer.get("devices", 1)) in ("auto", "-1"):
        raise UserError("hydra/launcher=slurm asks for a number of GPUs, so give one: trainer.devices=2")
    devices = processes_of(trainer) // nodes
    tasks = stated["tasks_per_node"] if stated["tasks_per_node"] > 1 or nodes == 1 else devices
    if stated["nodes"] not in (1, nodes) or tasks not in (1, devices):
        raise UserError(
            f"a training with trainer.num_nodes={nodes} trainer.devices={devices} needs hydra.launcher.nodes={nodes} "
            f"and hydra.launcher.tasks_per_node={devices}; leave both out, and they are chosen"
        )
    chosen = any(stated.get(key) for key in ("gpus_per_node", "gpus_per_task", "gres"))
    return {"nodes": nodes, "tasks_per_node": tasks} | ({"gpus_per_node": devices} if on_gpus and not chosen else {})


def _minutes_of(trainer: Mapping[str, Any]) -> int:
    limit = trainer.get("max_time")
    if limit is None:
        raise UserError(
            "trainer.max_time is null, so a job of Slurm needs a time limit: hydra.launcher.timeout_min=MINUTES"
        )
    left_s = Timer(limit if isinstance(limit, str) else dict(limit)).time_remaining()
    return math.ceil((left_s or 0) / 60)
