"""Reading a volume, from folder to HU array with discovery, sorting and geometry, beside two common readers.

Both sides in one process, in turn, page cache warm, median of the runs. What was remembered of the headers is
forgotten before each run of ours.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from monai.data import PydicomReader
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEGLosslessSV1

from kicc_ml.data.canonical import CanonicalCT
from kicc_ml.data.volume_chain import AFTER_SCAN, VolumeChain
from kicc_ml.dicom.header import parse

#: What the store and predictions read by.
CHAIN = VolumeChain(CanonicalCT())
RUNS = 7
SIDE = 512
UNCOMPRESSED_SLICES = 300
LOSSLESS_SLICES = 100
#: Elements of a scanner's header that none of the readers needs; real ones have one to three hundred in all.
OTHER_ELEMENTS = 60


def slice_header(index: int, instance: int) -> Dataset:
    """A CT slice as scanners write it: dates, dose, physics, a sequence and private elements among the rest."""
    one = Dataset()
    one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, f"1.2.826.0.1.{index + 1}"
    one.StudyInstanceUID, one.SeriesInstanceUID = "1.2.826.0.2", "1.2.826.0.3"
    one.PatientID, one.PatientName, one.Modality = "1", "A^B", "CT"
    one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    one.StudyDate = one.SeriesDate = one.AcquisitionDate = one.ContentDate = "20200301"
    one.StudyTime = one.SeriesTime = one.AcquisitionTime = one.ContentTime = "101010"
    one.Manufacturer, one.ManufacturerModelName, one.ConvolutionKernel = "ACME", "One", "B60"
    one.SliceThickness, one.KVP, one.Exposure, one.XRayTubeCurrent = 1, 120, 60, 200
    one.AcquisitionNumber, one.InstanceNumber = 1, instance
    one.ImagePositionPatient, one.ImageOrientationPatient = [-180, -180, index], [1, 0, 0, 0, 1, 0]
    one.PixelSpacing, one.Rows, one.Columns = [0.7, 0.7], SIDE, SIDE
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
    one.RescaleSlope, one.RescaleIntercept, one.RescaleType = 1, -1024, "HU"
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CTImageStorage, "1.2.826.0.4"
    one.ReferencedImageSequence = Sequence([reference])
    block = one.private_block(0x0029, "ACME CT", create=True)
    for number in range(OTHER_ELEMENTS):
        block.add_new(number, "LO", f"value {number}")
    return one


def write_series(folder: Path, slices: int) -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    tissue = np.where((y / 180) ** 2 + (x / 230) ** 2 < 1, 1040, 20) - 860 * (np.hypot(y, abs(x) - 105) < 90)
    folder.mkdir()
    for index, instance in enumerate(rng.permutation(slices).tolist()):
        one = slice_header(index, instance)
        one.PixelData = (tissue + rng.integers(-20, 20, tissue.shape)).astype("<i2").tobytes()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.save_as(folder / f"{instance:04d}.dcm", enforce_file_format=True)


def ours(folder: Path) -> np.ndarray:
    parse.recent.clear()
    return CHAIN.steps()({"image": folder}, end=AFTER_SCAN)["image"].array


def by_simpleitk(folder: Path) -> np.ndarray:
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(names))


def by_monai(folder: Path) -> np.ndarray:
    reader = PydicomReader()
    return reader.get_data(reader.read(str(folder)))[0]


def medians_s(folder: Path, *readers: Callable[[Path], np.ndarray]) -> list[float]:
    """Median seconds of each reader over :data:`RUNS` turns, after one that warms cache and workers."""
    seconds: dict[Callable, list[float]] = {reader: [] for reader in readers}
    for _ in range(RUNS + 1):
        for reader in readers:
            start = time.perf_counter()
            reader(folder)
            seconds[reader].append(time.perf_counter() - start)
    return [statistics.median(runs[1:]) for runs in seconds.values()]


@pytest.fixture(scope="module")
def uncompressed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("read") / "uncompressed"
    write_series(folder, UNCOMPRESSED_SLICES)
    return folder


def test_uncompressed_volume_is_read_three_times_as_fast_as_by_simpleitk_and_ten_times_as_by_monai(uncompressed: Path):
    volume_xyz = ours(uncompressed)
    assert volume_xyz.dtype == np.int16
    np.testing.assert_array_equal(volume_xyz, by_simpleitk(uncompressed).transpose(2, 1, 0).clip(-1024))
    own_s, simpleitk_s, monai_s = medians_s(uncompressed, ours, by_simpleitk, by_monai)
    print(
        f"\nuncompressed, {UNCOMPRESSED_SLICES} slices: {own_s:.3f} s; SimpleITK {simpleitk_s / own_s:.1f} x, ", end=""
    )
    print(f"MONAI {monai_s / own_s:.1f} x as long")
    assert simpleitk_s >= 3 * own_s
    assert monai_s >= 10 * own_s


@pytest.fixture(scope="module")
def lossless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("read") / "lossless"
    write_series(folder, LOSSLESS_SLICES)
    for path in folder.iterdir():
        compress(path)
    return folder


def compress(path: Path) -> None:
    """Replace a slice by the same one in JPEG Lossless, coded by GDCM, the only encoder of it here."""
    one = pydicom.dcmread(path)
    coded = path.with_suffix(".coded")
    writer = SimpleITK.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetCompressor("JPEG")
    writer.UseCompressionOn()
    writer.SetFileName(str(coded))
    writer.Execute(SimpleITK.GetImageFromArray(one.pixel_array[None]))
    source = pydicom.dcmread(coded, force=True)
    coded.unlink()
    assert source.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    one["PixelData"] = source["PixelData"]
    one.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    one.save_as(path, enforce_file_format=True)


def test_jpeg_lossless_volume_is_read_faster_than_by_simpleitk(lossless: Path):
    np.testing.assert_array_equal(ours(lossless), by_simpleitk(lossless).transpose(2, 1, 0).clip(-1024))
    own_s, simpleitk_s = medians_s(lossless, ours, by_simpleitk)
    print(f"\nJPEG Lossless, {LOSSLESS_SLICES} slices: {own_s:.3f} s; SimpleITK {simpleitk_s / own_s:.1f} x as long")
    assert simpleitk_s >= 1.2 * own_s
