"""Several devices predict what one predicts; here each of them is a copy of the networks on the processor."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.networks.nets import DynUNet
from torch import Tensor, nn

from kicc_ml.core.errors import TargetError
from kicc_ml.core.types import Series
from kicc_ml.dicom.series.image_files import make_nifti_series
from kicc_ml.models.precision import device_of
from kicc_ml.prediction.result import Result
from kicc_ml.prediction.segmentation import predict_series
from kicc_ml.prediction.several_devices import (
    copy_to_devices,
    list_devices_of_training,
    list_further_devices,
    predict_on_each,
)
from tests.support.grey_value_network import ByValue, phantom_ras, segmenter

#: So long a device waits for the other one; then it is taken for alone.
PATIENCE_S = 60.0
CASES = ("d", "broken", "a", "c", "b")


def scans(folder: Path, names: Sequence[str] = CASES) -> dict[str, Series]:
    """Scans of different patients that differ in their lungs; one is damaged."""
    series = {}
    for number, name in enumerate(names):
        path = folder / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(np.roll(phantom_ras(), number, axis=2), np.diag([2.0, 2.0, 3.0, 1.0])), path)
        series[name] = make_nifti_series(path, site="", patient=name, units="hu")
        if name == "broken":
            path.write_bytes(path.read_bytes()[:200])
    return series


class Meeting(ByValue):
    """Waits, in its first prediction, until a copy of it predicts too."""

    place = threading.Barrier(2)

    def __init__(self) -> None:
        super().__init__()
        self.has_met = False

    def forward(self, image_bcxyz: Tensor) -> Tensor:
        if not self.has_met:
            self.place.wait(PATIENCE_S)
            self.has_met = True
        return super().forward(image_bcxyz)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.nii.gz")}


def test_two_devices_predict_at_once_what_one_predicts_in_the_same_order(tmp_path: Path):
    series = scans(tmp_path)
    alone, aside = predict_series(segmenter(), series, tmp_path / "one")
    first = segmenter(Meeting())
    both, both_aside = predict_series(
        first, series, tmp_path / "two", copies=copy_to_devices(first, ["cpu"], len(series))
    )
    assert list(both["case_id"]) == ["d", "a", "c", "b"]
    assert both.drop(columns="seconds").equals(alone.drop(columns="seconds"))
    assert both_aside == aside
    assert list(aside) == ["broken"]
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")


class Pages:
    """A step that tells whether two scans were ever in it together."""

    keeps_probability = False

    def __init__(self) -> None:
        self.place = threading.Barrier(2)
        self.met = False
        self.seen: set[str] = set()

    def is_whole(self, series: Series, folder: Path) -> bool:
        return False

    def __call__(self, series: Series, result: Result, folder: Path) -> None:
        self.seen.add(result.case_id)
        try:
            self.place.wait(0.1)
            self.met = True
        except threading.BrokenBarrierError:
            self.place.reset()


def test_pages_are_written_one_at_a_time(tmp_path: Path):
    series, pages, first = scans(tmp_path, ("a", "b")), Pages(), segmenter(Meeting())
    predict_series(first, series, tmp_path / "out", pages, copies=copy_to_devices(first, ["cpu"], 2))
    assert pages.seen == {"a", "b"}
    assert not pages.met


def of_patients(patients: Sequence[str]) -> dict[str, Series]:
    one = make_nifti_series(Path("a.nii.gz"), site="", patient="", units="hu")
    return {f"{patient}{n}": replace(one, patient=patient) for n, patient in enumerate(patients)}


def run(series: dict[str, Series], predict: Callable[[str], object]) -> dict[str, object]:
    return predict_on_each([segmenter(), segmenter()], series, lambda _, case_id: predict(case_id))


def test_the_scans_of_a_patient_are_predicted_one_after_the_other_so_that_a_page_finds_the_prior_scan():
    said: list[str] = []
    other = threading.Event()

    def predict(case_id: str) -> str:
        said.append(f"begin {case_id}")
        if case_id == "kim0":
            assert other.wait(PATIENCE_S)  # the other device goes on meanwhile, with another patient
        else:
            other.set()
        said.append(f"end {case_id}")
        return case_id.upper()

    found = run(of_patients(["kim", "kim", "lee", "kim"]), predict)
    assert found == {"kim0": "KIM0", "kim1": "KIM1", "lee2": "LEE2", "kim3": "KIM3"}
    assert list(found) == ["kim0", "kim1", "lee2", "kim3"]
    assert [line for line in said if "kim" in line] == [
        f"{what} kim{n}" for n in (0, 1, 3) for what in ("begin", "end")
    ]


@pytest.mark.parametrize("patients", [[""] * 50, ["lee", *["kim"] * 49]], ids=["many patients", "two patients"])
def test_what_ends_all_ends_them_after_the_scans_that_are_being_predicted(patients: list[str]):
    begun: list[str] = []

    def predict(case_id: str) -> None:
        begun.append(case_id)
        if case_id == "p0":
            raise TargetError("the disk is full")
        time.sleep(0.02)

    series = dict(zip((f"p{n}" for n in range(50)), of_patients(patients).values(), strict=True))
    with pytest.raises(TargetError, match="full"):
        run(series, predict)
    assert len(begun) < len(series)


@pytest.mark.parametrize(
    ("name", "further"), [("auto", ["cuda:1", "cuda:2"]), ("cuda", []), ("cuda:1", []), ("cpu", [])]
)
def test_auto_takes_all_gpus_and_a_name_takes_that_one(name: str, further: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert list_further_devices(name) == further


@pytest.mark.parametrize(
    ("devices", "further"),
    [(["cuda:0", "cuda:1"], ["cuda:1"]), (["cpu", "cpu"], []), (["cuda:0"], []), (None, [])],
)
def test_after_a_training_its_own_devices_predict(devices: list[str] | None, further: list[str]):
    own = None if devices is None else [torch.device(name) for name in devices]
    root = own[0] if own else torch.device("cpu")
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=root, parallel_devices=own))
    assert list_devices_of_training(trainer) == further
    assert list_devices_of_training(None) == []


def test_a_copy_lies_on_its_device_with_its_companions_and_leaves_the_first_where_it_was():
    first = segmenter(nn.Conv3d(1, 5, 1))
    first = replace(first, companions=[segmenter(nn.Conv3d(1, 5, 1))])
    (copy,) = copy_to_devices(first, ["meta", "meta"], 2)
    assert [device_of(one.networks[0]).type for one in (copy, *copy.companions)] == ["meta", "meta"]
    assert [device_of(one.networks[0]).type for one in (first, *first.companions)] == ["cpu", "cpu"]
    assert copy_to_devices(first, ["meta"], 1) == []


def test_a_network_that_keeps_what_it_computed_in_training_is_copied_too():
    settings = {"spatial_dims": 3, "kernel_size": [3] * 4, "strides": [1, 2, 2, 2], "upsample_kernel_size": [2] * 3}
    deep = DynUNet(in_channels=1, out_channels=5, filters=[4, 8, 8, 8], deep_supervision=True, **settings)
    deep.train()(torch.rand(2, 1, 16, 16, 16)).sum().backward()
    (copy,) = copy_to_devices(segmenter(deep.eval()), ["cpu"], 2)
    image = torch.rand(1, 1, 16, 16, 16)
    assert copy.networks[0] is not deep
    with torch.inference_mode():
        assert torch.equal(copy.networks[0](image), deep(image))
