"""A full disk is told from the number of the operating system, never from words; the device /dev/full is one."""

import errno
import resource
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from nibabel.filebasedimages import ImageFileError
from PIL import Image
from pydicom import Dataset
from pydicom.uid import CTImageStorage, generate_uid
from safetensors import SafetensorError
from torch import nn

from kicc_ml.core.errors import TargetError, find_target_error, is_full, iterate_causes
from kicc_ml.core.files import whole_file, whole_folder
from kicc_ml.models.fold_checkpoint import FoldCheckpoints, Mark
from kicc_ml.runs.weights import write_weights

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


def write_torch(path: Path) -> None:
    with path.open("wb") as stream:
        torch.save(torch.zeros(100_000), stream)


WRITERS: dict[str, Callable[[Path], object]] = {
    "python": lambda path: path.write_bytes(bytes(10)),
    "numpy": lambda path: np.save(path, np.zeros(100_000)),
    "pandas": lambda path: pd.DataFrame({"a": range(10_000)}).to_csv(path),
    "parquet": lambda path: pd.DataFrame({"a": range(10_000)}).to_parquet(path),
    "torch": write_torch,
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


#: What libraries say of foreign files, which may hold these words as a name, a text or a member.
QUOTED = [
    OSError("With tag (0008,103E) got exception: No space left on device"),
    OSError("a.nii: 3 requested and 2 written"),
    RuntimeError("basic_ios::clear: iostream error"),
    ValueError("[Errno 28] No space left on device"),
    zipfile.BadZipFile("Bad CRC-32 for file 'Read-only file system'"),
    SafetensorError("Error while deserializing header: No space left on device (os error 28)"),
    ImageFileError("Cannot work out file type of 'File too large.nii'"),
]


@pytest.mark.parametrize("error", QUOTED, ids=lambda error: type(error).__name__)
def test_words_that_a_library_quotes_from_a_file_are_none_of_the_target(tmp_path: Path, error: Exception):
    assert not is_full(error)
    assert find_target_error(error, tmp_path / "a") is None
    for whole in (whole_file, whole_folder):
        with pytest.raises(type(error)), whole(tmp_path / "a"):
            raise error
        assert list(tmp_path.iterdir()) == []


@contextmanager
def files_of_at_most_4096_bytes() -> Iterator[None]:
    """The system refuses to write more of a file; pytest writes its own only after the block."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_an_array_that_numpy_could_not_write_whole_is_a_fault_of_the_target(tmp_path: Path, whole: Callable):
    def write() -> None:
        with whole(tmp_path / "a.npy") as partial:
            np.save(partial / "b.npy" if partial.is_dir() else partial, np.zeros(100_000))

    with (
        pytest.raises(TargetError, match=r"a\.npy cannot be written: File too large"),
        files_of_at_most_4096_bytes(),
    ):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_the_words_of_numpy_are_not_believed_where_there_is_room(tmp_path: Path, whole: Callable):
    def write() -> None:
        with whole(tmp_path / "a.npy") as partial:
            np.save(partial / "b.npy" if partial.is_dir() else partial, np.zeros(10))
            raise OSError("800 requested and 3 written")

    with pytest.raises(OSError, match=r"^800 requested and 3 written$"):
        write()


def test_weights_and_checkpoints_that_do_not_fit_are_faults_of_the_target(tmp_path: Path):
    network = nn.Linear(100, 100)
    checkpoints = FoldCheckpoints(tmp_path, Mark("seoul", "", ""))
    with (
        files_of_at_most_4096_bytes(),
        pytest.raises(TargetError, match=r"w\.safetensors cannot be written: File too large"),
    ):
        write_weights(tmp_path / "w.safetensors", network, {}, "")
    with (
        files_of_at_most_4096_bytes(),
        pytest.raises(TargetError, match=r"last\.ckpt cannot be written: File too large"),
    ):
        checkpoints.save_checkpoint({"state_dict": network.state_dict()}, tmp_path / "last.ckpt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("library", ["numpy", "torch", "pydicom"])
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


def test_an_error_that_is_a_cause_of_its_own_cause_is_gone_through_once():
    wrapped = OSError(errno.ENOSPC, "full")
    wrapper = RuntimeError("a step failed")
    wrapper.__cause__, wrapped.__context__ = wrapped, wrapper
    assert list(iterate_causes(wrapped)) == [wrapped, wrapper]
    assert is_full(wrapper)
