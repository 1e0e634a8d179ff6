"""A bundle that :mod:`kicc_ml.prediction.bundle.write` wrote is read back; nothing in it is executed."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from kicc_ml.core.errors import UserError, describe_error
from kicc_ml.core.parts import NotTrusted
from kicc_ml.core.received import read_json_object
from kicc_ml.models.networks import build_network, is_listed, tensor_shapes
from kicc_ml.models.pretrained import read_tensors
from kicc_ml.prediction.bundle.configs import MODEL
from kicc_ml.prediction.bundle.modules import PACKAGE, SCRIPTS
from kicc_ml.runs.folder import Fold, about_of
from kicc_ml.runs.settings import parse_settings

INFERENCE = Path("configs") / "inference.json"
WRITE_AGAIN = "write the bundle again with kicc-ml bundle"


def is_bundle(folder: Path) -> bool:
    """Whether a folder is a bundle of MONAI."""
    return (folder / INFERENCE).is_file()


def load_bundle(folder: Path, trust: Collection[str] = ()) -> list[Fold]:
    """Load the networks of a bundle as the folds that they were written from.

    Args:
        folder: the bundle.
        trust: packages whose networks may be built although this project does not ship them.

    Raises:
        UserError: it was not written by this program, is damaged, or names a network that is not trusted.
    """
    path = folder / INFERENCE
    inference = read_json_object(path, WRITE_AGAIN)
    try:
        networks, inferer = inference["network_def"]["networks"], inference["inferer"]
        groups = {place: group for group in inferer["groups"] for place in group["networks"]}
        tensors = read_tensors(folder / MODEL)
        return [_load_fold(path, place, networks[place], groups[place], inferer, tensors, trust) for place in groups]
    except Exception as error:  # files of strangers fail in many ways
        reason = describe_error(error).splitlines()[0]
        remedy = "" if isinstance(error, NotTrusted) else f"; {WRITE_AGAIN}"
        raise UserError(f"{folder} cannot be read as a bundle of kicc-ml: {reason}{remedy}") from error


def _load_fold(
    path: Path,
    place: int,
    network: Mapping[str, Any],
    group: Mapping[str, Any],
    inferer: Mapping[str, Any],
    tensors: Mapping[str, Any],
    trust: Collection[str],
) -> Fold:
    own = {**network, "_target_": _own_name(network["_target_"])}
    values = {"network": own, "data": dict(group), "task": {"regions": inferer["region_set"]}}
    settings = parse_settings(values, path)
    prefix = f"networks.{place}."
    weights = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    another = UserError(f"it describes another network than {MODEL} is of")
    size = sum(tensor.numel() for tensor in weights.values())
    if is_listed(own) and tensor_shapes(own, {}, len(shapes), size) != shapes:
        raise another
    built = build_network(own, {}, trust)
    if {name: tuple(tensor.shape) for name, tensor in built.state_dict().items()} != shapes:
        raise another
    built.load_state_dict(weights)
    stated = {name: inferer["segmenter"][name] for name in ("regions", "units", "spacing_known", "lesion_threshold")}
    return Fold(path.parent.parent, built.eval(), about_of({**stated, "sizes": {}, "sites": []}), settings)


def _own_name(target: str) -> str:
    """Return the name in this package of what a bundle has a copy of; that of any other stays."""
    return f"{PACKAGE}.{target.removeprefix(SCRIPTS + '.')}" if target.startswith(f"{SCRIPTS}.") else target
