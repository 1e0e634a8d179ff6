"""The environment of a Slurm job."""

import pytest

JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "fold", "SLURM_NODELIST": "n1", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}


def slurm(monkeypatch: pytest.MonkeyPatch, tasks: int, task: int = 0, per_node: bool = True) -> None:
    """The environment that Slurm gives to task ``task`` of ``tasks``."""
    for name, value in (JOB | {"SLURM_NTASKS": str(tasks), "SLURM_PROCID": str(task)}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE", raising=False)
    if per_node:
        monkeypatch.setenv("SLURM_NTASKS_PER_NODE", str(tasks))
