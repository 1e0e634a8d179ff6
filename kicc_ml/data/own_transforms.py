"""Transforms of MONAI, or of the user's own, between the steps of the line: per volume, per sample, per batch.

Each is a dictionary transform. Per volume and per sample it is given ``image`` (``cxyz`` float32; a radiograph is
one slice) and, where there are labels, ``mask`` (``cxyz``, 0/1, a channel per region); per sample of outcomes ``ct``
(``cxyz``) and ``cxr`` (``cxy``). Per batch
it is given the same, sample by sample on the device; one with ``takes_batches = True`` gets the batch as the task does.
What is random is seeded by the place in the training alone, so that a resumed training equals an uninterrupted one.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform, RandomizableTrait
from monai.utils import ensure_tuple

from kicc_ml.core.errors import UserError, iterate_causes
from kicc_ml.core.parts import build_part
from kicc_ml.data.shared_generators import SeededHere, seeded_here, shared_states

Data = dict[str, Any]
#: The images of a patient, of whom outcomes are predicted.
PATIENT_IMAGES = ("ct", "cxr")
#: Seeds on which a chain is tried, twice each, before a training begins.
TRIED_SEEDS = (1, 2, 3)


class TransformError(UserError):
    """A transform of the user's own cannot stand where it was put; it would be so for each further case."""


@dataclass(frozen=True)
class OwnTransforms:
    """A ``Compose`` of the user's own transforms, built where it is needed.

    Args:
        where: ``volume``, ``sample`` or ``batch``: the setting that they stand under, for errors.
        settings: JSON of their settings, by name, in order.
    """

    where: str
    settings: str = "{}"

    def __reduce__(self) -> Any:
        """Other processes build the transforms anew: those of others may not be copied."""
        return OwnTransforms, (self.where, self.settings)

    def __bool__(self) -> bool:
        return bool(self.parts)

    @property
    def parts(self) -> list[Mapping[str, Any]]:
        """The settings of each."""
        found = json.loads(self.settings)
        return [one for one in (found.values() if isinstance(found, dict) else found) if one is not None]

    @cached_property
    def compose(self) -> Compose:
        """The transforms. Raises TransformError for one that cannot be repeated."""
        built = [build_part(part) for part in self.parts]
        for one in _each(built):
            if not callable(one):
                raise TransformError(f"transforms.{self.where}: {_name(one)} is no transform")
            _refuse_random(one, self.where)
        return Compose([seeded_here(one) for one in built])

    def __call__(self, data: Data, seed: int, case_id: str) -> Data:
        """Apply the transforms to a sample; returns plain tensors, whatever they carry on their way.

        Raises:
            TransformError: one fails, draws at random without being seeded, or leaves image and mask in two shapes.
        """
        self.compose.set_random_state(seed=seed)
        done = self.keeping_meta(data, self.compose, case_id)
        return {key: _plain(value) for key, value in done.items()}

    def keeping_meta(self, data: Data, compose: Compose, case_id: str = "a volume") -> Data:
        """The same of one of these chains that is seeded, with what MONAI keeps beside the voxels."""
        before = shared_states()
        try:
            done = compose(dict(data))
        except Exception as error:  # transforms of others fail in many ways
            raise TransformError(f"transforms.{self.where}: {_reason(error)} (on {case_id})") from error
        if shared_states() != before:
            raise TransformError(f"transforms.{self.where}: {self._who_draws(data)} {UNSEEDED}")
        self._refuse_two_shapes(data, done)
        return done

    def only(self, number: int) -> "OwnTransforms":
        """Return the transform of that number alone."""
        return self._alone[number]

    @property
    def of_samples(self) -> "OwnTransforms":
        """Those that are not given whole batches."""
        built = zip(self.parts, self.compose.transforms, strict=True) if self else ()
        return OwnTransforms(self.where, json.dumps([part for part, one in built if not _takes_batches(one)]))

    @cached_property
    def _alone(self) -> list["OwnTransforms"]:
        return [OwnTransforms(self.where, json.dumps([part])) for part in self.parts]

    def check(self, data: Data, case_id: str) -> None:
        """Raises TransformError where the same seed makes two different things of one sample."""
        if "image" not in data:  # a patient may lack one of the images
            allow_missing_keys(self.compose, self.where, PATIENT_IMAGES)
        for seed in TRIED_SEEDS:
            one, other = self(_copied(data), seed, case_id), self(_copied(data), seed, case_id)
            if any(not _equal(one[key], other.get(key)) for key in one):
                raise TransformError(f"transforms.{self.where}: {', '.join(map(_name, self._all()))}: one {UNSEEDED}")

    def _all(self) -> Sequence[Any]:
        return self.compose.transforms

    def _who_draws(self, data: Data) -> str:
        """Find the transform that changed what is drawn from everywhere."""
        for one in self._all():
            before = shared_states()
            data = one(dict(data))
            if shared_states() != before:
                return _name(one)
        return "one of them"

    def _refuse_two_shapes(self, before: Data, done: Data) -> None:
        if not {"image", "mask"} <= set(done):
            return
        image, mask = (tuple(done[key].shape[1:]) for key in ("image", "mask"))
        if image != mask:
            was = tuple(before["image"].shape[1:])
            changed = "image" if image != was else "mask"
            raise TransformError(
                f"transforms.{self.where}: {', '.join(map(_name, self._all()))} makes {changed} of {was} voxels "
                f"{image if changed == 'image' else mask} and leaves the other; give it keys: [image, mask]"
            )


UNSEEDED = (
    "draws at random without being seeded, so that a resumed training would be another one; derive it from "
    "monai.transforms.Randomizable and draw from self.R"
)


#: Where the user has none.
NO_VOLUME_TRANSFORMS, NO_SAMPLE_TRANSFORMS, NO_BATCH_TRANSFORMS = map(OwnTransforms, ("volume", "sample", "batch"))


@dataclass(frozen=True)
class Transforms:
    """The user's own transforms of volumes, samples and batches."""

    volume: OwnTransforms = NO_VOLUME_TRANSFORMS
    sample: OwnTransforms = NO_SAMPLE_TRANSFORMS
    batch: OwnTransforms = NO_BATCH_TRANSFORMS


NO_TRANSFORMS = Transforms()


def transforms_of(settings: Mapping[str, Any] | None) -> Transforms:
    """Build the transforms of plain settings, by ``volume``, ``sample`` and ``batch``; none where there are none."""
    found = {where: parts for where, parts in (settings or {}).items() if parts}
    if unknown := set(found) - {"volume", "sample", "batch"}:
        raise UserError(f"transforms.{min(unknown)} is no place of a transform; there are volume, sample and batch")
    return Transforms(**{where: OwnTransforms(where, json.dumps(parts)) for where, parts in found.items()})


def check_first_sample(dataset: Any, transforms: Transforms, taken: Callable[[Mapping[str, Any]], Data]) -> None:
    """Try the user's own transforms on the first sample, in this process, where an error is one sentence."""
    if transforms.sample or transforms.batch:
        sample = dataset[0, 0]
        for own in (transforms.sample, transforms.batch.of_samples):
            if found := taken(sample):
                own.check(found, sample["case_id"])


def transform_batch(batch: Data, own: OwnTransforms, keys: Mapping[str, str]) -> Data:
    """Apply the user's own transforms to a batch, on the device it lies on.

    Args:
        batch: as a task takes it; each sample has its ``sample_seed``.
        own: what is done, sample by sample; a transform that ``takes_batches`` is given the batch whole.
        keys: names of what a sample holds, and under which key its batch lies.
    """
    for number, one in enumerate(own.compose.transforms if own else ()):
        alone = own.only(number)
        if _takes_batches(one):
            batch = alone(batch, _seed(batch["sample_seed"][0], number), batch["case_id"][0])
            continue
        there = {name: key for name, key in keys.items() if key in batch}
        done = [
            alone({name: batch[key][place] for name, key in there.items()}, _seed(seed, number), case_id)
            for place, (seed, case_id) in enumerate(zip(batch["sample_seed"], batch["case_id"], strict=True))
        ]
        batch = {**batch, **{key: torch.stack([one[name] for one in done]) for name, key in there.items()}}
    return batch


def _takes_batches(one: Any) -> bool:
    return bool(getattr(one, "takes_batches", False))


def _seed(sample_seed: int, number: int) -> int:
    """Of the transform of that number: another than those of samples and of the augmentation draw by."""
    return int(np.random.default_rng([sample_seed, number, 3]).integers(2**32 - 1))


def allow_missing_keys(compose: Compose, where: str, known: Collection[str]) -> None:
    """Let the transforms of a chain pass over what is not there: labels of a new scan, a patient's CT.

    Raises:
        TransformError: one names something that is neither ``known`` nor made by one before it.
    """
    made = set(known)
    for one in _each(compose.transforms):
        if not isinstance(one, MapTransform):
            continue
        if unknown := set(map(str, one.keys)) - made:
            raise TransformError(
                f"transforms.{where}: {_name(one)} names {min(unknown)}; there are {' and '.join(known)}"
            )
        made |= set(map(str, ensure_tuple(getattr(one, "names", ()))))
        one.allow_missing_keys = True


def _each(transforms: Sequence[Any]) -> Iterator[Any]:
    """Transforms, and those within a Compose among them."""
    for one in transforms:
        yield one.transform if isinstance(one, SeededHere) else one
        if isinstance(one, Compose):
            yield from _each(one.transforms)


def _refuse_random(one: Any, where: str) -> None:
    if where == "volume" and isinstance(one, RandomizableTrait) and type(one) is not Compose:
        raise TransformError(
            f"transforms.volume: {_name(one)} is random, and volumes are kept; put it in transforms.sample"
        )


def _plain(value: Any) -> Any:
    """MetaTensor ends here: it would leak through the network into losses and metrics."""
    if isinstance(value, MetaTensor):
        return value.as_tensor()
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def _copied(data: Data) -> Data:
    return {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in data.items()}


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.shape == other.shape and bool(torch.equal(one.nan_to_num(), other.nan_to_num()))
    return True


def _name(one: Callable[..., Any]) -> str:
    return type(one.transform if isinstance(one, SeededHere) else one).__name__


def _reason(error: Exception) -> str:
    """Return the error behind those that MONAI wraps it in, in one line."""
    *_, first = iterate_causes(error)
    return f"{type(first).__name__}: {str(first).splitlines()[0] if str(first) else ''}"
