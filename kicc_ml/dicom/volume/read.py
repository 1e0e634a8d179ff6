"""Read a series to an array in patient space, from any kind of files, and a reader for MONAI's LoadImage."""

import multiprocessing
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from monai.data import ImageReader

from kicc_ml.core.errors import UserError
from kicc_ml.core.help_pages import REFUSED_SERIES
from kicc_ml.core.types import HU_CEILING, HU_FLOOR, Series, Units, Volume
from kicc_ml.dicom.index.scan import scan
from kicc_ml.dicom.pixels import presentation
from kicc_ml.dicom.pixels.polarity import STRONG_SCORE, invert, judge_tone
from kicc_ml.dicom.pixels.read import Image, read_frames, read_image
from kicc_ml.dicom.series import geometry, repair
from kicc_ml.dicom.series.geometry import NotAVolume
from kicc_ml.dicom.series.image_files import (
    NIFTI_SUFFIXES,
    RADIOGRAPH_SUFFIXES,
    explain_refusal,
    make_nifti_series,
    make_radiograph_series,
    read_radiograph,
)
from kicc_ml.dicom.series.mha_file import SUFFIX as MHA_SUFFIX
from kicc_ml.dicom.series.mha_file import read_mha
from kicc_ml.dicom.series.nifti_file import make_nifti_volume, read_nifti, states_orientation
from kicc_ml.dicom.series.stacking import SPACING_TOLERANCE_MM
from kicc_ml.dicom.series.verdict import classify_series
from kicc_ml.dicom.volume.hounsfield import NotWholeError, find_padding, write_hounsfield

#: The brightest grey value of a scan that was saved in 8 bits.
MAX_GREY = 255


def read_volume(series: Series) -> Volume:
    """Read a usable series.

    Args:
        series: a CT or a radiograph; files of a DICOMweb service are fetched.

    Returns:
        a CT in HU ``[x, y, z]``, int16 if slope and intercept are integers, else float32, in which padding and values
        below -1024 HU are -1024; or a radiograph ``[x, y, 1]`` as float32, in which high values are bright and air is
        dark (``polarity`` says if it was inverted for that: :mod:`kicc_ml.dicom.pixels.polarity`).

    Raises:
        UserError: the series was refused, or a file cannot be decoded.
        NotAVolume: the geometry of the files has changed since they were indexed.
    """
    if not series.usable:
        raise UserError(f"series {series.uid} was refused: {explain_refusal(series)}", page=REFUSED_SERIES)
    if series.origin:
        from kicc_ml.dicom.web.service import fetch  # only whoever reads over the network waits for its libraries

        fetch(series)
    name = series.files[0].name.lower()
    if name.endswith(NIFTI_SUFFIXES):
        return _read_nifti_volume(series)
    if name.endswith(MHA_SUFFIX):
        array_xyz, affine_ras = read_mha(series.files[0])
        return Volume(array_xyz.clip(HU_FLOOR, HU_CEILING), affine_ras, series.units)
    if name.endswith(RADIOGRAPH_SUFFIXES):
        return _read_picture_file(series)
    return _read_ct(series) if series.modality == "CT" else _read_dicom_radiograph(series)


def _read_ct(series: Series) -> Volume:
    volume_zyx, slices = _read_slices(series)
    volume_zyx, affine_ras = _place_on_regular_grid(volume_zyx, slices, series)
    return Volume(volume_zyx.transpose(2, 1, 0), affine_ras, "hu")


def _read_slices(series: Series) -> tuple[np.ndarray, list[Image]]:
    """Read the HU ``[z, y, x]`` of all slices, and their current header values. Each file is opened once."""
    shape = (series.slices, series.rows, series.columns)
    try:
        return _read_slices_into(np.empty(shape, np.int16), series)
    except NotWholeError:
        return _read_slices_into(np.empty(shape, np.float32), series)


def _read_slices_into(volume_zyx: np.ndarray, series: Series) -> tuple[np.ndarray, list[Image]]:
    slices: list[Image | None] = [None] * len(volume_zyx)

    def fill(start: int) -> None:
        """Every n-th slice; of a multi-frame object, which is one file, all."""
        for index, image, path in _iterate_images(series, start, threads):
            write_hounsfield(image, path, out=volume_zyx[index])
            slices[index] = replace(image, stored=np.empty(0))

    threads = 1 if series.frames else _count_threads()
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(fill, range(threads)):
            pass
    return volume_zyx, [image for image in slices if image is not None]


def _count_threads() -> int:
    """Count the threads for reading and decoding, which run in parallel; a child process uses one only."""
    return 1 if multiprocessing.parent_process() else joblib.cpu_count()


def _iterate_images(series: Series, start: int, step: int) -> Iterator[tuple[int, Image, Path]]:
    if series.frames:
        (path,) = series.files
        yield from ((index, image, path) for index, image in enumerate(read_frames(path, series.frames)))
    else:
        for index in range(start, len(series.files), step):
            yield index, read_image(series.files[index]), series.files[index]


def _place_on_regular_grid(
    volume_zyx: np.ndarray, slices: Sequence[Image], series: Series
) -> tuple[np.ndarray, np.ndarray]:
    """Put the volume on a regular grid by the current positions of its files, and return it with its affine.

    Raises:
        NotAVolume: the files have a fault that the verdict of the series does not name.
    """
    if not all(image.position_mm and image.orientation and image.pixel_spacing_mm for image in slices):
        raise NotAVolume("no_position", "a file has lost its position since it was indexed; index again")
    positions_mm = np.array([image.position_mm for image in slices])
    orientation = geometry.find_common_orientation(np.array([image.orientation for image in slices]))
    spacings_mm = np.array([image.pixel_spacing_mm for image in slices])
    if np.ptp(spacings_mm, axis=0).max() > SPACING_TOLERANCE_MM:
        raise NotAVolume("split_matrix", "slices differ in pixel spacing since they were indexed; index again")
    for fault in geometry.find_faults(positions_mm, orientation, spacings_mm[0]):
        if fault.code not in series.reasons:
            raise fault
    return repair.repair_stack(volume_zyx, positions_mm, orientation, spacings_mm[0], series.reasons)


def _read_dicom_radiograph(series: Series) -> Volume:
    """Read display values (:mod:`kicc_ml.dicom.pixels.presentation`). Padding gets the darkest value.

    What the file states of bright and dark holds, unless the picture is plainly the opposite.
    """
    path = series.files[0]
    image = read_image(path, series.frames[0] if series.frames else None)
    values = presentation.apply_presentation(path, image.stored, image.stored_range, image.inverted).values
    _darken_padding(values, image)
    contradicted = judge_tone(values.T, STRONG_SCORE) == "negative"
    if contradicted:
        values = invert(values)
        _darken_padding(values, image)
    volume = place_frontal(values.T, series.units, image.pixel_spacing_mm)
    return replace(volume, polarity="inverted_against_file") if contradicted else volume


def _darken_padding(values: np.ndarray, image: Image) -> None:
    """Give padding the darkest value of the picture, in place."""
    if image.padding and not (padding := find_padding(image)).all():
        values[padding] = values[~padding].min()


def _read_nifti_volume(series: Series) -> Volume:
    array_xyz, affine_ras = read_nifti(series.files[0])
    if series.grey_window_hu:
        array_xyz = windowed_to_hu(array_xyz, series.grey_window_hu, series.files[0])
    known, oriented = series.spacing_mm is not None, states_orientation(series.files[0])
    return make_nifti_volume(array_xyz, affine_ras, series.units, spacing_known=known, orientation_known=oriented)


def windowed_to_hu(grey: np.ndarray, window_hu: tuple[float, float], path: Path) -> np.ndarray:
    """HU as float32 of grey values from 0 to 255, which a window was cut to. What it cut off stays at its edges.

    Raises:
        UserError: a value lies outside of 0 to 255, so that the file is not what was published.
    """
    low_hu, high_hu = window_hu
    if grey.min() < 0 or grey.max() > MAX_GREY:
        raise UserError(
            f"{path}: holds values from {grey.min():g} to {grey.max():g}, where the set was published in grey values "
            f"from 0 to {MAX_GREY}; download it again from where it was published"
        )
    return (low_hu + (high_hu - low_hu) / MAX_GREY * grey).astype(np.float32)


def _read_picture_file(series: Series) -> Volume:
    """Read a PNG or JPEG, which cannot state whether it is a negative; the picture is asked."""
    image_xy = read_radiograph(series.files[0])
    tone = judge_tone(image_xy)
    if tone == "negative":
        return replace(place_frontal(invert(image_xy), series.units, None), polarity="inverted_unstated")
    volume = place_frontal(image_xy, series.units, None)
    return replace(volume, polarity="unsure") if tone == "unsure" else volume


def place_frontal(image_xy: np.ndarray, units: Units, pixel_spacing_mm: Sequence[float] | None) -> Volume:
    """Make the volume of a frontal radiograph: one slice, the patient's right on the picture's left.

    Args:
        image_xy: its pixels, columns along the first axis.
        units: of its values.
        pixel_spacing_mm: between rows and between columns; None where the file states none.

    Returns:
        ``[x, y, 1]``: x runs to the patient's left, y to the feet, z to the back. The slice is as thick as a column is
        wide, since a shadow has no depth.
    """
    row_mm, column_mm = pixel_spacing_mm or (1.0, 1.0)
    affine_ras = np.array([[-column_mm, 0, 0, 0], [0, 0, -column_mm, 0], [0, -row_mm, 0, 0], [0, 0, 0, 1.0]])
    return Volume(image_xy[..., None], affine_ras, units, spacing_known=pixel_spacing_mm is not None)


class RepositoryReader(ImageReader):
    """MONAI reader of a folder with one usable DICOM series, a NIfTI or PNG/JPEG path, or a :class:`Series`.

    Use it as ``LoadImaged(keys="image", reader=RepositoryReader())``. For a :class:`Series` set ``expanduser=False``
    too, because LoadImage otherwise treats every input as a path.
    """

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Return whether each input is a series or a path that this reader can try."""
        return all(isinstance(item, Series) or _is_readable(Path(item)) for item in _list_inputs(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> Volume:
        """Read one image.

        Raises:
            UserError: a folder does not hold exactly one usable series.
        """
        one, *more = _list_inputs(data)
        if more:
            raise UserError(f"one image at a time: {len(more) + 1} were given")
        return read_volume(one if isinstance(one, Series) else find_usable_series(Path(one)))

    def get_data(self, img: Volume) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the array and its meta data: ``affine`` (RAS), ``spatial_shape``, ``space``, no channel."""
        return img.array, {
            "affine": img.affine_ras,
            "original_affine": img.affine_ras.copy(),
            "spatial_shape": np.array(img.array.shape),
            "original_channel_dim": "no_channel",
            "space": "RAS",
            "spacing_known": img.spacing_known,
        }


def find_usable_series(path: Path) -> Series:
    """Find the only usable image at a path.

    Raises:
        UserError: there is not exactly one; the message lists all series.
    """
    name = path.name.lower()
    if name.endswith(NIFTI_SUFFIXES):
        return make_nifti_series(path, site="", patient=path.name, units="arbitrary")
    if name.endswith(RADIOGRAPH_SUFFIXES):
        return make_radiograph_series(path, site="", patient=path.name)
    # pseudonyms under a key of the moment: nothing that would need the repository's is handed out
    key = secrets.token_bytes(32)
    found, _ = classify_series(path, scan(path, key))
    usable = [series for series in found if series.usable]
    if len(usable) == 1:
        return usable[0]
    listed = "\n".join(
        f"  {series.files[0]} ...: {series.modality}, {series.slices} slices, {_describe_verdict(series)}"
        for series in found
    )
    raise UserError(
        f"{path} holds {len(usable)} usable series where one is needed:\n{listed or '  no image'}", page=REFUSED_SERIES
    )


def _describe_verdict(series: Series) -> str:
    return f"{series.verdict}: {explain_refusal(series)}" if series.reasons else series.verdict


def _list_inputs(data: Any) -> tuple[Any, ...]:
    return tuple(data) if isinstance(data, (list, tuple)) else (data,)


def _is_readable(path: Path) -> bool:
    return path.is_dir() or path.name.lower().endswith(NIFTI_SUFFIXES + RADIOGRAPH_SUFFIXES)
