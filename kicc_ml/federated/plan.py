"""What the coordinator tells the hospitals of a training: numbers and names from short lists, never code."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from typing import Any, Literal, get_args

from kicc_ml.core.errors import UserError
from kicc_ml.federated.messages import HospitalRefuses

Task = Literal["outcome", "lesion_ct"]
Norm = Literal["instance", "batch", "local_batch"]

#: Whose versions must be the same at all hospitals and the server: what computes, and what carries.
SAME_VERSIONS = ("kicc_ml", "nvflare")

#: The largest value that a hospital accepts for each number of a plan.
LIMITS: Mapping[str, float] = {
    "rounds": 10_000,
    "epochs": 1_000,
    "batch_size": 1_024,
    "learning_rate": 10.0,
    "proximal": 1_000.0,
    "width": 1_024,
    "channels": 1_024,
    "patches": 100_000,
    "seed": 2**32 - 1,
    "spacing_mm": 50.0,
    "patch_size": 512,
}


@dataclass(frozen=True)
class Plan:
    """A federated training.

    Attributes:
        task: ``outcome`` (from the clinical table) or ``lesion_ct`` (regions on CT).
        rounds: how often the hospitals train and their weights are averaged.
        epochs: how often a hospital sees its patients in each round.
        batch_size: patients or patches in a step.
        learning_rate: of the local optimizer.
        proximal: the weight mu of FedProx (Li et al., MLSys 2020); 0 is FedAvg (McMahan et al., AISTATS 2017).
        width: width of the outcome network.
        channels: channels of each level of the segmentation network.
        norm: its normalisation: ``instance``; ``batch``, with statistics that are averaged; ``local_batch``, with
            statistics that stay at their hospital (SiloBN, Andreux et al., DART 2020). The held-out hospital then
            estimates its own, from its scans without their masks.
        patches: patches that a hospital trains on in each epoch of a segmentation.
        spacing_mm: voxel size of the segmentation.
        patch_size: voxels of a patch.
        seed: of the first weights and of the order of patients.
    """

    task: Task = "outcome"
    rounds: int = 3
    epochs: int = 1
    batch_size: int = 8
    learning_rate: float = 1e-3
    proximal: float = 0.0
    width: int = 32
    channels: Sequence[int] = (8, 16, 32)
    norm: Norm = "instance"
    patches: int = 64
    spacing_mm: tuple[float, float, float] = (4.5, 4.5, 8.0)
    patch_size: Sequence[int] = (64, 48, 32)
    seed: int = 1

    def as_json(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def parse_plan(values: Any) -> Plan:
    """Parse a plan that came from the server or the command line.

    Args:
        values: the plan as plain values.

    Raises:
        UserError: a name is unknown, or a value is not of its kind or above its limit.
    """
    known = sorted(field.name for field in fields(Plan))
    strange = sorted(set(map(str, values)) - set(known)) if isinstance(values, Mapping) else ["no mapping"]
    if strange:
        raise UserError(f"a plan of a federated training holds {', '.join(known)}, and not: {strange[0]:.40}")
    given: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in values.items()}
    plan = Plan(**given)
    for name, choices in (("task", get_args(Task)), ("norm", get_args(Norm))):
        if getattr(plan, name) not in choices:
            raise UserError(f"{name} is {getattr(plan, name)!r}; it may be {', '.join(choices)}")
    for name, most in LIMITS.items():
        _check_number(name, getattr(plan, name), most, getattr(Plan, name))
    multiple = 2 ** (len(plan.channels) - 1)
    if any(size % multiple for size in plan.patch_size):
        raise UserError(
            f"patch_size is {plan.patch_size}; with {len(plan.channels)} levels give multiples of {multiple}"
        )
    return plan


def _check_number(name: str, value: Any, most: float, default: Any) -> None:
    """Raise UserError unless a value is a number, or as many as usual, of the right kind and within its limit."""
    several = isinstance(default, tuple)
    values = value if several and isinstance(value, tuple) else (value,)
    kind = type(default[0] if several else default)
    least = 0 if name in ("proximal", "seed") else 1 if kind is int else 1e-12
    count_is_right = not several or (len(values) == 3 if name != "channels" else 2 <= len(values) <= 6)
    for one in values:
        right = isinstance(one, int) if kind is int else isinstance(one, int | float)
        if not count_is_right or isinstance(one, bool) or not right or not isfinite(one) or not least <= one <= most:
            raise UserError(f"{name} is {value!r}; it must be {kind.__name__} from {least} to {most:g}")


def list_versions() -> dict[str, str]:
    """List the versions of what computes and what carries, as installed here; "none" for what is not."""
    return {name: _find_version(name) for name in SAME_VERSIONS}


def _find_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def refuse_other_versions(asked: Any) -> None:
    """Raise HospitalRefuses if a job was made with other versions than are installed here.

    Args:
        asked: the versions that the job states, by package.
    """
    stated = asked if isinstance(asked, Mapping) else {}
    for name, own in list_versions().items():
        if stated.get(name) != own:
            raise HospitalRefuses(
                f"the job was made with {name} {stated.get(name, 'of no stated version')!s:.40}, this hospital has "
                f"{own}; install the same version everywhere: pip install {name}=={own}"
            )
