"""Several devices predict different cases at once: a copy of the networks on each, and a thread that feeds it."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from kicc_ml.core.progress import track
from kicc_ml.core.types import Series
from kicc_ml.models.precision import on_device
from kicc_ml.models.segmenter import Segmenter
from kicc_ml.prediction.result import Result

Answer = TypeVar("Answer")


class Finish(Protocol):
    """A step after the prediction of a new scan: it adds files beside the masks, or refuses the scan (UserError)."""

    @property
    def keeps_probability(self) -> bool:
        """Whether the lesion probability is needed on the grid of the scan, which takes 4 bytes per voxel."""

    def is_whole(self, series: Series, folder: Path) -> bool:
        """Tell whether an earlier prediction of a case has all files of this step."""

    def __call__(self, series: Series, result: Result, folder: Path) -> None:
        """Write what belongs to the result of a series into its folder."""


class OneAtATime:
    """A step after predictions that runs for one scan at a time: pages are drawn with settings of the whole process."""

    def __init__(self, finish: Finish) -> None:
        self.finish = finish
        self.lock = Lock()

    @property
    def keeps_probability(self) -> bool:
        """Whether the step needs the lesion probability."""
        return self.finish.keeps_probability

    def is_whole(self, series: Series, folder: Path) -> bool:
        """Tell whether an earlier prediction of a case has all files of the step."""
        return self.finish.is_whole(series, folder)

    def __call__(self, series: Series, result: Result, folder: Path) -> None:
        """Run the step when no other scan is in it."""
        with self.lock:
            self.finish(series, result, folder)


def list_further_devices(name: str) -> list[str]:
    """List the GPUs beside the first one, where a user chose ``auto``; none where a device was named."""
    return [f"cuda:{number}" for number in range(1, torch.cuda.device_count())] if name == "auto" else []


def list_devices_of_training(trainer: Any) -> list[str]:
    """List the devices of a training on this machine beside the one where its network lies.

    Several processes on one processor count as one device.

    Args:
        trainer: the trainer after its training; None where there was none.
    """
    if trainer is None:
        return []
    all_devices = getattr(trainer.strategy, "parallel_devices", None) or ()
    return [str(device) for device in dict.fromkeys(all_devices) if device != trainer.strategy.root_device]


def copy_after_training(segmenter: Segmenter, trainer: Any, scans: int) -> list[Segmenter]:
    """Copy a segmenter to the further devices of its training: :func:`copy_to_devices` with their names."""
    return copy_to_devices(segmenter, list_devices_of_training(trainer), scans)


def copy_to_devices(segmenter: Segmenter, devices: Sequence[str], scans: int) -> list[Segmenter]:
    """Make copies of a segmenter on further devices, on no more of them than there are scans for.

    Args:
        segmenter: the networks; it stays where it is.
        devices: the names of the further devices.
        scans: the number of scans that are to be predicted.

    Raises:
        UserError: a device does not exist.
    """
    return [_copy_to(segmenter, device) for device in devices[: max(0, scans - 1)]]


def _copy_to(segmenter: Segmenter, device: str) -> Segmenter:
    networks = [on_device(_copy_network(network), device) for network in segmenter.networks]
    companions = [_copy_to(other, device) for other in segmenter.companions]
    return replace(segmenter, networks=networks, companions=companions, canonical=deepcopy(segmenter.canonical))


def _copy_network(network: nn.Module) -> nn.Module:
    """Copy a network, also one that was just trained and keeps what it last computed (DynUNet its heads)."""
    of_modules = [value for module in network.modules() for value in vars(module).values()]
    listed = [one for value in of_modules for one in (value if isinstance(value, list) else [value])]
    return deepcopy(network, {id(one): one.detach() for one in listed if isinstance(one, Tensor)})


def predict_on_each(
    segmenters: Sequence[Segmenter],
    series: Mapping[str, Series],
    predict: Callable[[Segmenter, str], Answer],
) -> dict[str, Answer]:
    """Predict each case by whichever segmenter is free; the scans of a patient one after the other, as they lie.

    A page shows the patient's prior scan, which therefore must be there before the next one.

    Args:
        segmenters: one for each device.
        series: the scans, by case id.
        predict: predicts a case; what it raises ends all, after the scans that are being predicted.

    Returns:
        The answers by case id, in the order of ``series``.
    """
    if len(segmenters) == 1:
        cases = track(series, description="predict", total=len(series))
        return {case_id: predict(segmenters[0], case_id) for case_id in cases}
    ended = Event()
    free: SimpleQueue[Segmenter] = SimpleQueue()
    for segmenter in segmenters:
        free.put(segmenter)

    def predict_patient(case_ids: Sequence[str]) -> dict[str, Answer]:
        segmenter = free.get()
        try:
            return {case_id: predict(segmenter, case_id) for case_id in case_ids if not ended.is_set()}
        finally:
            free.put(segmenter)

    found: dict[str, Answer] = {}
    patients = _group_by_patient(series)
    with ThreadPoolExecutor(len(segmenters)) as threads:
        waiting = [threads.submit(predict_patient, case_ids) for case_ids in patients]
        try:
            for done in track(as_completed(waiting), description="predict", total=len(patients)):
                found |= done.result()
        except BaseException:
            ended.set()
            threads.shutdown(cancel_futures=True)
            raise
    return {case_id: found[case_id] for case_id in series}


def _group_by_patient(series: Mapping[str, Series]) -> list[list[str]]:
    """Group case ids by patient; a scan that states none is a group of its own."""
    groups: dict[Hashable, list[str]] = {}
    for case_id, one in series.items():
        groups.setdefault((one.site, one.patient) if one.patient else case_id, []).append(case_id)
    return list(groups.values())
