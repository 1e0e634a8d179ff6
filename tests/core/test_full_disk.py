"""A full disk is told from the words of every library that writes files here; the device /dev/full is one."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from pydicom import Dataset
from pydicom.uid import CTImageStorage, generate_uid
from safetensors import SafetensorError

from kicc_ml.core.errors import TargetError, find_target_error, is_full
from kicc_ml.core.files import whole_file, whole_folder

FULL = Path("/dev/full")
VALUES = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)

pytestmark = pytest.mark.skipif(not FULL.exists(), reason="only Linux has /dev/full")


def write_dicom(path: Path) -> None:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
    dataset.BitsAllocated, dataset.PixelRepresentation = 16, 0
    dataset.PixelData = bytes(100_000)
    dataset.save_as(path, implicit_vr=False, little_endian=True, enforce_file_format=False)


def write_nifti(path: Path) -> None:
    nib.Nifti1Image(np.zeros((40, 40, 40), np.int16), np.eye(4)).to_filename(path)


def write_safetensors(path: Path) -> None:
    """Its own words, since it would put a file of its own in the place of the device."""
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


WRITERS: dict[str, Callable[[Path], object]] = {
    "python": lambda path: path.write_bytes(bytes(10)),
    "numpy": lambda path: np.save(path, np.zeros(100_000)),
    "pandas": lambda path: pd.DataFrame({"a": range(10_000)}).to_csv(path),
    "parquet": lambda path: pd.DataFrame({"a": range(10_000)}).to_parquet(path),
    "safetensors": write_safetensors,
    "torch": lambda path: torch.save(torch.zeros(100_000), path),
    "pillow": lambda path: Image.fromarray(VALUES).save(path, format="JPEG"),
    "pydicom": write_dicom,
    "nibabel": write_nifti,
}


def link_to_a_full_disk(path: Path) -> None:
    """As if the file were on a full disk, whatever is done to it."""
    path.unlink(missing_ok=True)
    path.symlink_to(FULL)


@pytest.mark.parametrize("library", WRITERS)
def test_what_a_library_says_of_a_full_disk_is_the_fault_of_the_target(tmp_path: Path, library: str):
    path = tmp_path / {"numpy": "a.npy", "nibabel": "a.nii"}.get(library, "a")
    link_to_a_full_disk(path)
    with pytest.raises(Exception) as raised:  # noqa: PT011 (each library has its own)
        WRITERS[library](path)
    assert is_full(raised.value)
    assert "a cannot be written: No space left on device; make room" in str(
        find_target_error(raised.value, tmp_path / "a")
    )


def test_a_fault_of_the_program_is_none_of_the_target():
    assert find_target_error(ZeroDivisionError("division by zero"), Path("a")) is None
    assert find_target_error(OSError("image file is truncated (3 bytes not processed)"), Path("a")) is None


@pytest.mark.parametrize("library", ["numpy", "safetensors", "torch", "pydicom"])
@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_a_whole_file_or_folder_says_it_and_leaves_nothing(tmp_path: Path, whole: Callable, library: str):
    def write() -> None:
        with whole(tmp_path / "a.npy") as partial:
            path = partial / "b.npy" if partial.is_dir() else partial
            link_to_a_full_disk(path)
            WRITERS[library](path)

    with pytest.raises(TargetError, match=r"a\.npy cannot be written: No space"):
        write()
    assert list(tmp_path.iterdir()) == []
