"""The steps of a bundle's ``inference.json``. A bundle has a copy of this module and of all that it imports.

It may import torch, MONAI, numpy, nibabel and SciPy, and of this package what does the same.
"""

import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import MapTransform
from torch import Tensor, nn

from kicc_ml.core.errors import UserError
from kicc_ml.core.regions import make_region_set, merge_sides
from kicc_ml.core.types import Units, Volume
from kicc_ml.data.canonical import CanonicalCT
from kicc_ml.dicom.series.nifti_file import (
    compute_spacing_mm,
    is_voxel_size,
    make_nifti_image,
    make_nifti_volume,
    read_nifti,
    states_orientation,
)
from kicc_ml.models.segmenter import Segmenter

SUFFIXES = (".nii.gz", ".nii")
#: Of a scan's meta data: its file, and whether that states how the scan lies in the patient.
FILE, ORIENTED = "filename_or_obj", "orientation_known"


def list_scans(folder: str) -> list[dict[str, str]]:
    """List the NIfTI files in a folder, as the items of a dataset.

    Args:
        folder: the folder; files in folders below it are not taken.

    Raises:
        UserError: there are none, or two whose results would have one name.
    """
    found = sorted(path for path in Path(folder).glob("*") if path.name.endswith(SUFFIXES))
    if not found:
        raise UserError(f"{folder} holds no NIfTI file (.nii, .nii.gz); give its folder as --dataset_dir FOLDER")
    names = [name_case(path) for path in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{folder} holds two files called {twice[0]}, with .nii and with .nii.gz; rename one")
    return [{"image": str(path)} for path in found]


def name_case(path: str | Path) -> str:
    """Name the results of a scan: its file name without the suffix."""
    return Path(path).name.removesuffix(".gz").removesuffix(".nii")


class NetworkEnsemble(nn.Module):
    """The networks of a run, one for each fold."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, image_bcxyz: Tensor) -> Tensor:
        """Compute the mean probability of each region in a patch of a canonical image."""
        return torch.stack([network(image_bcxyz).sigmoid() for network in self.networks]).mean(0)


class LoadScand(MapTransform):
    """A NIfTI file becomes a tensor (1, x, y, z) on the scan's own grid, with its affine (RAS, mm)."""

    def __init__(self, keys: KeysCollection, units: Units, spacing_known: bool) -> None:
        super().__init__(keys)
        self.units, self.spacing_known = units, spacing_known

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the files.

        Raises:
            UserError: a file cannot be read, holds no single volume, or has voxels of no CT.
        """
        return {**data, **{key: self._load(Path(data[key])) for key in self.key_iterator(dict(data))}}

    def _load(self, path: Path) -> MetaTensor:
        array_xyz, affine_ras = read_nifti(path)
        if not is_voxel_size(spacing_mm := compute_spacing_mm(affine_ras)):
            raise UserError(f"{path}: voxels of {spacing_mm} mm are those of no CT; correct the unit in its header")
        oriented = states_orientation(path)
        volume = make_nifti_volume(
            array_xyz, affine_ras, self.units, spacing_known=self.spacing_known, orientation_known=oriented
        )
        meta = {FILE: str(path), ORIENTED: oriented}
        return MetaTensor(torch.from_numpy(volume.array)[None], torch.from_numpy(volume.affine_ras), meta)


class ScanInferer(Inferer):
    """Segments whole scans by the networks of a :class:`NetworkEnsemble`, and answers on the scan's own grid.

    Args:
        groups: the networks that take voxels of one size: ``networks`` are their places in the ensemble, ``canonical``
            and ``patch_size`` describe their input.
        segmenter: the other values of a :class:`Segmenter`.
        region_set: the regions of the task, as parameters of ``make_region_set``.
    """

    def __init__(
        self, groups: Sequence[Mapping[str, Any]], segmenter: Mapping[str, Any], region_set: Mapping[str, Any]
    ) -> None:
        self.groups, self.segmenter = groups, {**segmenter, "region_set": make_region_set(**region_set)}

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        """Segment one scan.

        Args:
            inputs: the scan, (1, 1, x, y, z), with its affine.
            network: the :class:`NetworkEnsemble`.
            args: of MONAI's interface; not used.
            kwargs: of MONAI's interface; not used.

        Returns:
            uint8 0/1 (1, region, x, y, z).
        """
        assert isinstance(inputs, MetaTensor), "a scan without its affine"
        affine_ras = np.asarray(inputs.affine, float).reshape(4, 4)
        units, known = self.segmenter["units"], self.segmenter["spacing_known"]
        array_xyz = inputs.as_tensor()[0, 0].cpu().numpy()
        masks = self.make_segmenter(network).segment(Volume(array_xyz, affine_ras, units, known))
        return torch.from_numpy(np.stack(list(masks.values())).view(np.uint8))[None]

    def make_segmenter(self, network: nn.Module) -> Segmenter:
        """Make the segmenter of an ensemble."""
        first, *others = [self._make_of_group(group, network) for group in self.groups]
        return replace(first, companions=others)

    def _make_of_group(self, group: Mapping[str, Any], network: nn.Module) -> Segmenter:
        assert isinstance(network, NetworkEnsemble)
        values: dict[str, Any] = {name: value and tuple(value) for name, value in group["canonical"].items()}
        networks = [network.networks[place] for place in group["networks"]]
        return Segmenter(networks, CanonicalCT(**values), group["patch_size"], **self.segmenter)


class SaveRegionsd(MapTransform):
    """Writes the masks of a scan as ``FOLDER/<name of its file>/<region>.nii.gz`` on the scan's own grid.

    Args:
        keys: the masks.
        image_key: the scan.
        regions: the names of the masks' channels.
        folder: the folder of all results.
    """

    def __init__(self, keys: KeysCollection, image_key: str, regions: Sequence[str], folder: str) -> None:
        super().__init__(keys)
        self.image_key, self.regions, self.folder = image_key, regions, Path(folder)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write them. Where the scan's file does not state how it lies, the sides of the lung are not told apart."""
        scan = data[self.image_key]
        oriented, folder = bool(np.all(np.asarray(scan.meta[ORIENTED]))), self.folder / name_case(scan.meta[FILE])
        for key in self.key_iterator(dict(data)):
            masks = dict(zip(self.regions, np.asarray(data[key]).astype(bool), strict=True))
            for region, mask_xyz in (masks if oriented else merge_sides(masks)).items():
                image = make_nifti_image(mask_xyz.astype(np.uint8), np.asarray(scan.affine, float), oriented)
                _write(image, folder / f"{region}.nii.gz")
        return dict(data)


def _write(image: nib.Nifti1Image, path: Path) -> None:
    """Write a file completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    nib.save(image, partial)
    partial.replace(path)
