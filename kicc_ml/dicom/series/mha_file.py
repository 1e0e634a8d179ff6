"""MetaImage volumes (``.mha``): the header is text, which is read without the voxels."""

from pathlib import Path

import numpy as np
import SimpleITK

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Series

SUFFIX = ".mha"
#: The header of a volume has some forty lines; a file whose first line of voxels comes later is none.
MAX_HEADER_BYTES = 2**16
#: The last line of the header.
LAST_KEY = "ElementDataFile"


def read_mha_header(path: Path) -> dict[str, str]:
    """Keys and values of the header, not the voxels; empty where the file is no MetaImage with voxels of its own."""
    found: dict[str, str] = {}
    try:
        with path.open("rb") as file:
            start = file.read(MAX_HEADER_BYTES)
    except OSError:
        return {}
    for line in start.split(b"\n"):
        key, equals, value = line.decode("latin-1").partition("=")
        if not equals:
            return {}
        found[key.strip()] = value.strip()
        if key.strip() == LAST_KEY:
            return found if value.strip().upper() == "LOCAL" else {}  # no file that another one names is opened
    return {}


def mha_series(path: Path, *, site: str, patient: str) -> Series:
    """Describe a CT in HU as a series whose ids are its own name; header only. Refused if that is of no volume."""
    header = read_mha_header(path)
    try:
        columns, rows, slices = (int(size) for size in header["DimSize"].split())
        x, y, z = (float(mm) for mm in (header.get("ElementSpacing") or header["ElementSize"]).split())
        reasons: tuple[str, ...] = ()
    except (KeyError, ValueError):
        columns = rows = slices = 1
        x = y = z = 0.0
        reasons = ("unreadable",)
    return Series(
        site=site,
        patient=patient,
        study=path.stem,
        uid=path.stem,
        modality="CT",
        files=(path,),
        rows=rows,
        columns=columns,
        slices=slices,
        spacing_mm=None if reasons else (x, y, z),
        units="hu",
        verdict="refused" if reasons else "usable",
        reasons=reasons,
        plane="" if reasons else "axial",
        coverage_mm=None if reasons else slices * z,
    )


def read_mha(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels ``[x, y, z]`` and ``affine_ras``. Raises UserError for a file that is none."""
    if not read_mha_header(path):
        raise UserError(f"{path} is no MetaImage volume with its voxels in it; fetch it again")
    try:
        image = SimpleITK.ReadImage(str(path), imageIO="MetaImageIO")
    except RuntimeError as error:
        raise UserError(f"{path} cannot be read as a MetaImage volume; fetch it again") from error
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine_lps = np.eye(4)
    affine_lps[:3, :3] = direction * np.array(image.GetSpacing())
    affine_lps[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_lps
