"""An experiment that has a plan for each kind of machine takes the one for the machine that it is started on.

The choice is made once, by the process that was started: it hands the chosen name on to the jobs of the folds.
"""

from collections.abc import Sequence

import torch

from kicc_ml.apps.command_line import parse_overrides
from kicc_ml.apps.configuration import CONFIGS
from kicc_ml.apps.overrides import write_setting
from kicc_ml.core.shown import say

EXPERIMENT, NAME = "experiment", "name"
#: Ends the name of an experiment that is another one's plan for a GPU: ``lesion_ct_gpu`` is that of ``lesion_ct``.
FOR_GPU = "_gpu"
#: Typed settings that ask for the processor although there is a GPU.
ON_PROCESSOR = {"trainer": "cpu", "trainer.accelerator": "cpu"}


def choose_plan(overrides: Sequence[str]) -> list[str]:
    """Return the settings of the command line, on a machine with a GPU with the plan for a GPU in them.

    The run keeps the name of the experiment that was typed.

    Args:
        overrides: settings as typed, each with one value.
    """
    typed = {one.key_or_group: str(one.value()) for one in parse_overrides(overrides) if not one.is_sweep_override()}
    experiment = typed.get(EXPERIMENT, "")
    on_processor = any(typed.get(key) == value for key, value in ON_PROCESSOR.items())
    if on_processor or not _has_plan_for_gpu(experiment) or not torch.cuda.is_available():
        return list(overrides)
    say(
        f"experiment={experiment} takes its plan for a GPU ({experiment}{FOR_GPU}); trainer=cpu takes the other",
        to_stderr=True,
    )
    named = [] if NAME in typed else [write_setting(NAME, experiment)]
    others = [one for one in overrides if one != f"{EXPERIMENT}={experiment}"]
    return [f"{EXPERIMENT}={experiment}{FOR_GPU}", *named, *others]


def _has_plan_for_gpu(experiment: str) -> bool:
    return experiment.isidentifier() and (CONFIGS / "experiment" / f"{experiment}{FOR_GPU}.yaml").is_file()
