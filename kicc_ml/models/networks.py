"""The networks a run folder may name. A configuration handed over is data: it picks from this list, nothing else."""

from collections.abc import Mapping
from typing import Any

from monai.networks.nets import DynUNet, SegResNet, UNet
from torch import nn

from kicc_ml.core.errors import UserError
from kicc_ml.models.outcome import OutcomeNetwork
from kicc_ml.models.slice_unet import SliceUNet

NETWORKS: Mapping[str, type[nn.Module]] = {
    "monai.networks.nets.UNet": UNet,
    "monai.networks.nets.DynUNet": DynUNet,
    "monai.networks.nets.SegResNet": SegResNet,
    "kicc_ml.models.slice_unet.SliceUNet": SliceUNet,
    "kicc_ml.models.outcome.OutcomeNetwork": OutcomeNetwork,
}


def build_network(settings: Mapping[str, Any], sizes: Mapping[str, int]) -> nn.Module:
    """The network that ``_target_`` names, from its own settings and the sizes that only the data know.

    Raises UserError for a name that is not in ``NETWORKS``.
    """
    name = settings["_target_"]
    if name not in NETWORKS:
        raise UserError(f"network {name} is not one of those this project builds: {', '.join(NETWORKS)}")
    parameters = {key: value for key, value in settings.items() if key != "_target_"}
    return NETWORKS[name](**parameters, **sizes)
