"""``network._target_=mypackage.Net`` alone is enough: what the file of the group says to its own part is left out."""

import inspect
from functools import cache
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from kicc_ml.core.parts import PARTIAL, TARGET, find_part
from kicc_ml.core.received import parse_yaml

#: Groups whose file is one call.
GROUPS = ("cohort", "split", "data", "network", "loss", "optimizer", "schedule", "model")
#: Settings that this project reads itself.
KEPT = frozenset({TARGET, PARTIAL, "fold", "weights"})


def drop_leftovers(cfg: DictConfig, configs: Path, shipped: frozenset[str]) -> DictConfig:
    """Drop from a configuration what the files of groups say to parts that the user has replaced.

    Args:
        cfg: the composed configuration.
        configs: the folder of the groups that this project ships.
        shipped: targets of this project, whose settings are all meant.

    Returns:
        the configuration; settings that stand in no file of the group are kept, so that a mistyped one is noticed.

    Raises:
        UserError: a part of the user's cannot be imported.
    """
    changed = cfg.copy()
    for group in GROUPS:
        node = OmegaConf.select(changed, group)
        if not isinstance(node, DictConfig) or not node.get(TARGET) or node[TARGET] in shipped:
            continue
        taken = inspect.signature(find_part(node[TARGET])).parameters
        if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in taken.values()):
            continue
        with open_dict(node):
            for key in _list_keys(configs / group) - set(taken) - KEPT:
                node.pop(key, None)
    return changed


@cache
def _list_keys(folder: Path) -> frozenset[str]:
    """List every setting in the files of a group."""
    files = [parse_yaml(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.yaml"))]
    return frozenset(key for file in files for key in file or ())
