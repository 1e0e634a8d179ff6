"""A series to an array in patient space, whatever files it lies in; and the door for MONAI's LoadImage."""

import secrets
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ImageReader

from kicc_ml.dicom import geometry
from kicc_ml.dicom.geometry import NotAVolume
from kicc_ml.dicom.image_files import (
    NIFTI_SUFFIXES,
    RADIOGRAPH_SUFFIXES,
    nifti_series,
    radiograph_series,
    read_nifti,
    read_radiograph,
)
from kicc_ml.dicom.judge import judge
from kicc_ml.dicom.pixels import Image, read_image
from kicc_ml.dicom.reasons import REASONS
from kicc_ml.dicom.scan import scan
from kicc_ml.records import Series, UserError, Volume

#: Air outside the field of view is padded below it by some scanners; -1024 is the floor of 12-bit CT.
HU_FLOOR = -1024
HU_CEILING = np.iinfo(np.int16).max


def read_volume(series: Series) -> Volume:
    """Read a usable series: CT in HU ``[x, y, z]``, a radiograph ``[x, y]`` as float32, high values bright.

    CT is int16 where slope and intercept are whole, float32 otherwise; padding and all below -1024 HU become
    -1024. Raises UserError for a refused series or a file that cannot be decoded, and NotAVolume where the
    files no longer hold the geometry that was judged.
    """
    if not series.usable:
        raise UserError(f"series {series.uid} of site {series.site!r} was refused: {_in_words(series)}")
    name = series.files[0].name.lower()
    if name.endswith(NIFTI_SUFFIXES):
        return _from_nifti(series)
    if name.endswith(RADIOGRAPH_SUFFIXES):
        return _from_radiograph(series)
    return _read_ct(series) if series.modality == "CT" else _read_cxr(series)


def _in_words(series: Series) -> str:
    return "; ".join(REASONS[reason] for reason in series.reasons)


def _read_ct(series: Series) -> Volume:
    images = [read_image(path) for path in series.files]
    affine_ras = _affine_ras(images)
    whole = all(image.slope is not None and _is_whole(image) for image in images)
    kind = np.int16 if whole else np.float32
    volume_zyx = np.empty((len(images), series.rows, series.columns), kind)
    for slice_yx, image, path in zip(volume_zyx, images, series.files, strict=True):
        slice_yx[:] = hounsfield(image, path)
    return Volume(volume_zyx.transpose(2, 1, 0), affine_ras, "hu")


def _is_whole(image: Image) -> bool:
    return float(image.slope or 0.5).is_integer() and float(image.intercept or 0).is_integer()


def hounsfield(image: Image, path: Path) -> np.ndarray:
    """HU ``[row, column]``: slope x stored + intercept (PS3.3 C.11.1.1.2), clipped, padding at -1024.

    MONOCHROME1 says how to show a CT, not what it measured: nothing is inverted.
    """
    if not image.slope or image.intercept is None:
        raise NotAVolume("no_rescale", f"{path}: no rescale slope and intercept, its values are not HU")
    hu = image.stored.astype(np.float32) * np.float32(image.slope) + np.float32(image.intercept)
    if image.padding:
        hu[_padded(image)] = HU_FLOOR
    return hu.clip(HU_FLOOR, HU_CEILING)


def _padded(image: Image) -> np.ndarray:
    low, high = sorted(image.padding or (0, 0))
    return (image.stored >= low) & (image.stored <= high)


def _affine_ras(images: Sequence[Image]) -> np.ndarray:
    """The affine from the files as they are now; raises NotAVolume where they are no longer an even stack."""
    if not all(image.position_mm and image.orientation and image.pixel_spacing_mm for image in images):
        raise NotAVolume("no_position", "a file has lost its position since it was indexed; index again")
    positions_mm = np.array([image.position_mm for image in images])
    orientation = geometry.common_orientation(np.array([image.orientation for image in images]))
    pixel_spacing_mm = np.array(images[0].pixel_spacing_mm)
    for fault in geometry.faults(positions_mm, orientation, pixel_spacing_mm):
        raise fault
    return geometry.affine_ras(positions_mm, orientation, pixel_spacing_mm)


def _read_cxr(series: Series) -> Volume:
    image = read_image(series.files[0])
    array_xy = _brightness(image).T
    between_rows_mm, between_columns_mm = image.pixel_spacing_mm or (1.0, 1.0)
    scale = np.diag([between_columns_mm, between_rows_mm, 1.0, 1.0])
    return Volume(array_xy, scale, series.units, spacing_known=image.pixel_spacing_mm is not None)


def _brightness(image: Image) -> np.ndarray:
    """Stored values, turned over for MONOCHROME1 within the range of the bits, so that air is dark; float32.

    Padding takes the darkest value of the picture.
    """
    values = image.stored.astype(np.float32)
    if image.inverted:
        low = -(2 ** (image.bits_stored - 1)) if image.signed else 0
        values = 2 * low + 2**image.bits_stored - 1 - values
    if image.padding and not (padded := _padded(image)).all():
        values[padded] = values[~padded].min()
    return values


def _from_nifti(series: Series) -> Volume:
    array_xyz, affine_ras = read_nifti(series.files[0])
    if series.units == "hu":
        array_xyz = array_xyz.clip(HU_FLOOR, HU_CEILING)
    known = series.spacing_mm is not None
    if not known:
        affine_ras = affine_ras @ np.diag([*1 / np.linalg.norm(affine_ras[:3, :3], axis=0), 1.0])
    return Volume(array_xyz, affine_ras, series.units, spacing_known=known)


def _from_radiograph(series: Series) -> Volume:
    return Volume(read_radiograph(series.files[0]), np.eye(4), series.units, spacing_known=False)


class RepositoryReader(ImageReader):
    """MONAI reader of a folder with one usable DICOM series, a NIfTI or PNG/JPEG path, or a :class:`Series`.

    Stands in anybody's ``LoadImaged(keys="image", reader=RepositoryReader())``; for a :class:`Series` give
    ``expanduser=False`` too, since LoadImage otherwise takes every input for a path.
    """

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        return all(isinstance(one, Series) or _is_readable(Path(one)) for one in _each(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> Volume:
        """Read one image. Raises UserError where a folder does not hold exactly one usable series."""
        one, *more = _each(data)
        if more:
            raise UserError(f"one image at a time: {len(more) + 1} were given")
        return read_volume(one if isinstance(one, Series) else series_at(Path(one)))

    def get_data(self, img: Volume) -> tuple[np.ndarray, dict[str, Any]]:
        """The array and its meta data: ``affine`` (RAS), ``spatial_shape``, ``space``, no channel."""
        return img.array, {
            "affine": img.affine_ras,
            "original_affine": img.affine_ras.copy(),
            "spatial_shape": np.array(img.array.shape),
            "original_channel_dim": "no_channel",
            "space": "RAS",
            "spacing_known": img.spacing_known,
        }


def series_at(path: Path) -> Series:
    """The one usable image at a path. Raises UserError that lists what is there if it is not exactly one."""
    name = path.name.lower()
    if name.endswith(NIFTI_SUFFIXES):
        return nifti_series(path, site="", patient=path.name, units="arbitrary")
    if name.endswith(RADIOGRAPH_SUFFIXES):
        return radiograph_series(path, site="", patient=path.name)
    # pseudonyms under a key of the moment: nothing that would need the repository's is handed out
    found, _ = judge(path, scan(path, secrets.token_bytes(32)))
    usable = [series for series in found if series.usable]
    if len(usable) == 1:
        return usable[0]
    listed = "\n".join(f"  {one.files[0]} ...: {one.modality}, {one.slices} slices, {_judged(one)}" for one in found)
    raise UserError(f"{path} holds {len(usable)} usable series where one is needed:\n{listed or '  no image'}")


def _judged(series: Series) -> str:
    return f"{series.verdict}: {_in_words(series)}" if series.reasons else series.verdict


def _each(data: Any) -> tuple[Any, ...]:
    return tuple(data) if isinstance(data, (list, tuple)) else (data,)


def _is_readable(path: Path) -> bool:
    return path.is_dir() or path.name.lower().endswith(NIFTI_SUFFIXES + RADIOGRAPH_SUFFIXES)
