"""What two common readers make of a folder of DICOM files, without a word of help."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK
from monai.data import MetaTensor, PydicomReader
from monai.transforms import LoadImage


@dataclass(frozen=True)
class Reading:
    """A volume ``[x, y, z]`` as a peer gives it, with the affine it states, turned to RAS."""

    array_xyz: np.ndarray
    affine_ras: np.ndarray

    @property
    def slices(self) -> int:
        return self.array_xyz.shape[2]

    @property
    def spacing_z_mm(self) -> float:
        """Distance between slices as stated; negative where the affine runs towards the feet."""
        column = self.affine_ras[:3, 2]
        return float(np.copysign(np.linalg.norm(column), column[2]))


def simpleitk_reads(folder: Path) -> Reading:
    """ImageSeriesReader on GetGDCMSeriesFileNames, its own recipe for a folder."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    return _from_simpleitk(reader.Execute())


def simpleitk_reads_file(path: Path) -> Reading:
    return _from_simpleitk(SimpleITK.ReadImage(str(path)))


def _from_simpleitk(image: SimpleITK.Image) -> Reading:
    array = SimpleITK.GetArrayFromImage(image)
    affine_lps = np.eye(4)
    affine_lps[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine_lps[:3, 3] = image.GetOrigin()
    return Reading(np.moveaxis(array, (0, 1, 2), (2, 1, 0)), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_lps)


def monai_reads(path: Path) -> Reading:
    """LoadImage with PydicomReader, on a folder or a file."""
    image = LoadImage(reader=PydicomReader(), image_only=True)(path)
    assert isinstance(image, MetaTensor)
    return Reading(image.numpy(), image.affine.numpy())
