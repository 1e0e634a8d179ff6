"""Which values a search may give to each setting, in words of Hydra: ``interval``, ``range``, ``choice``, ``a,b``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from kicc_ml.apps.command_line import parse_overrides
from kicc_ml.core.errors import UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

#: Settings by which no search can choose, and why.
UNSEARCHED = {
    "experiment": "the results of two experiments are not of one kind",
    "run_dir": "each trial has a folder of its own",
    "split.fold": "settings are chosen by all folds together",
}


@dataclass(frozen=True)
class Space:
    """The settings that a search varies.

    Attributes:
        distributions: by setting as typed (``+key`` included), what optuna draws from.
        described: the same in words, by which the space of an earlier start is told from another.
    """

    distributions: Mapping[str, "BaseDistribution"]
    described: Mapping[str, str]


def make_space(overrides: Sequence[str], params: Mapping[str, Any]) -> Space:
    """Make the space of a search.

    Args:
        overrides: settings with several values or an interval, as typed.
        params: the same by setting, from a configuration; one that is typed too counts as typed.

    Raises:
        UserError: nothing is varied, or a setting cannot be.
    """
    typed = {one.get_key_element().lstrip("+"): one for one in parse_overrides(overrides)}
    of_params = [f"{key}={value}" for key, value in params.items()]
    stated = {one.get_key_element().lstrip("+"): one for one in parse_overrides(of_params)}
    found = {**stated, **typed}
    if not found:
        raise UserError(
            "a search varies no setting; say which values one may have, for example "
            '"model.learning_rate=tag(log,interval(0.001,0.03))"'
        )
    for key, reason in UNSEARCHED.items():
        if key in found:
            raise UserError(f"a search cannot vary {key}: {reason}")
    distributions = {one.get_key_element(): _make_distribution(one) for one in found.values()}
    return Space(distributions, {key: str(one) for key, one in distributions.items()})


def write_value(value: Any) -> str:
    """Write a drawn value as a setting has it; words are kept as they were typed."""
    return repr(value) if isinstance(value, float) else str(value)


def _make_distribution(override: Override) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    key = override.get_key_element()
    try:
        if isinstance(value, IntervalSweep):
            low, high, log = value.start, value.end, "log" in value.tags
            if isinstance(low, int) and isinstance(high, int):
                return IntDistribution(low, high, log=log)
            return FloatDistribution(float(low or 0), float(high or 0), log=log)
        if isinstance(value, RangeSweep) and (values := list(value.range())) and isinstance(values[0], int):
            return IntDistribution(values[0], int(values[-1]), step=int(value.step))
        if not override.is_sweep_override():
            raise ValueError("it has one value; give several, or an interval")
        return CategoricalDistribution(list(dict.fromkeys(override.sweep_string_iterator())))
    except (TypeError, ValueError) as error:
        raise UserError(f"{override.input_line} cannot be searched ({error}); see {key}=interval(a,b)") from error
