"""Differences between synthetic hospitals: scanner, protocol, and habits of the archive."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from kicc_ml.synthetic.anatomy import Grid
from kicc_ml.synthetic.thorax import AIR_HU, Thorax


@dataclass(frozen=True)
class Vendor:
    """Names and storage conventions of a manufacturer. ``padding_hu`` fills the area outside a round field of view."""

    manufacturer: str
    ct_model: str
    soft_kernel: str
    lung_kernel: str
    rescale_intercept: int
    padding_hu: int | None


VENDORS = (
    Vendor("SIEMENS", "SOMATOM Definition AS", "B31f", "B70f", -1024, None),
    Vendor("GE MEDICAL SYSTEMS", "Revolution CT", "STANDARD", "LUNG", -1024, -3024),
    Vendor("Philips", "iCT 256", "B", "YA", -1024, None),
    Vendor("TOSHIBA", "Aquilion ONE", "FC08", "FC52", 0, -2000),
)
SYNTAXES = (ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1)
HABIT_SHARE = 0.4  # of the hospitals have any one habit; at least one has it
NOISE_AT_100_MAS_HU = 15.0
MOTION_MM = 5.0
TABLE_HU, TABLE_CORE_HU = 120.0, -880.0


@dataclass(frozen=True)
class Habits:
    """Irregularities of real archives; each can be switched on separately."""

    shuffled_file_names: bool = False
    instance_number_disordered: bool = False
    instance_number_missing: bool = False
    localizer_in_series: bool = False
    dose_page_in_series: bool = False
    duplicated_slice: bool = False
    korean_names: bool = False  # PatientName in ISO 2022 IR 149
    private_tags: bool = False


@dataclass(frozen=True)
class Hospital:
    """One hospital's equipment and protocol; the same for all its patients."""

    name: str
    vendor: Vendor
    sharp: bool  # a lung kernel: crisp edges, grainy noise
    tube_current_mas: float
    field_of_view_mm: float
    scan_length_mm: float
    overlap: float  # slice thickness over slice distance
    table_flat: bool
    cxr_modality: str  # "CR" or "DX"
    cxr_vendor: str
    monochrome1: bool
    transfer_syntax: UID
    habits: Habits = Habits()

    @property
    def kernel(self) -> str:
        """Return the name of the reconstruction kernel."""
        return self.vendor.lung_kernel if self.sharp else self.vendor.soft_kernel

    @property
    def noise_hu(self) -> float:
        """Standard deviation in water, which falls with the square root of the dose and rises with a sharp kernel."""
        return NOISE_AT_100_MAS_HU / math.sqrt(self.tube_current_mas / 100) * (1.35 if self.sharp else 0.8)

    def make_ct_grid(self, matrix: int, slices: int, lung_height_mm: float) -> Grid:
        """Make the grid of this hospital's chest protocol, centred on the lungs."""
        # Whole micrometres, so that the decimal strings of DICOM say exactly what the masks' affine says.
        across = round(self.field_of_view_mm / matrix, 3)
        along = round(self.scan_length_mm / slices, 3)
        edge = round(-across * (matrix - 1) / 2, 3)
        lowest = round((lung_height_mm - along * (slices - 1)) / 2 - 4, 3)  # a little more below than above
        return Grid((matrix, matrix, slices), (across, across, along), (edge, round(edge - 2, 3), lowest))


def make_hospitals(seed: int, sites: Sequence[str]) -> dict[str, Hospital]:
    """Make equipment and habits of every site, so that each vendor, syntax and habit occurs if possible."""
    rng = np.random.default_rng([seed, *hashlib.sha256("\n".join(sites).encode()).digest()])
    count = len(sites)
    vendor, cxr_vendor, syntax = (_deal_kinds(rng, len(deck), count) for deck in (VENDORS, VENDORS, SYNTAXES))
    sharp, digital, inverted, flat = (_deal_kinds(rng, 2, count) for _ in range(4))
    habits = {field.name: _deal_habit(rng, count) for field in fields(Habits)}
    found = {}
    for i, site in enumerate(sites):
        found[site] = Hospital(
            name=site,
            vendor=VENDORS[vendor[i]],
            sharp=bool(sharp[i]),
            tube_current_mas=round(rng.uniform(40, 160)),
            field_of_view_mm=round(rng.uniform(352, 392)),
            scan_length_mm=round(rng.uniform(300, 330)),
            overlap=round(rng.uniform(1.0, 1.3), 2),
            table_flat=bool(flat[i]),
            cxr_modality="DX" if digital[i] else "CR",
            cxr_vendor=VENDORS[cxr_vendor[i]].manufacturer,
            monochrome1=bool(inverted[i]),
            transfer_syntax=SYNTAXES[syntax[i]],
            habits=Habits(**{name: bool(has[i]) for name, has in habits.items()}),
        )
    return found


def _deal_kinds(rng: np.random.Generator, kinds: int, count: int) -> np.ndarray:
    """Deal ``count`` kinds as cards from a deck with equally many of each kind."""
    return rng.permutation(np.resize(rng.permutation(kinds), count))


def _deal_habit(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.permutation(np.arange(count) < max(1, round(HABIT_SHARE * count)))


def scan_ct(hospital: Hospital, thorax: Thorax, seed: int) -> np.ndarray:
    """Simulate the CT of a thorax: HU ``[x, y, z]`` as int16, with table, motion, blur and noise."""
    rng = np.random.default_rng(seed)
    grid = thorax.grid
    hu = _add_table(hospital, thorax)
    smeared = gaussian_filter1d(hu, MOTION_MM / grid.spacing_mm[1], axis=1, truncate=2.5)
    hu += rng.uniform(0.3, 1.0) * thorax.motion * (smeared - hu)
    blur_mm = 1.3 if hospital.sharp else 2.2
    hu = gaussian_filter(hu, [blur_mm / step for step in grid.spacing_mm[:2]] + [0.35 * hospital.overlap], truncate=3)
    hu += _draw_noise(rng, hospital, grid.shape)
    stored = np.rint(np.clip(hu, -1024, 3071)).astype(np.int16)
    if hospital.vendor.padding_hu is not None:
        stored[find_outside_field_of_view(grid)] = hospital.vendor.padding_hu
    return stored


def find_outside_field_of_view(grid: Grid) -> np.ndarray:
    """Find the corners (nx, ny) outside a round field of view."""
    nx, ny = grid.shape[:2]
    x, y = np.ogrid[:nx, :ny]
    return (x - (nx - 1) / 2) ** 2 + (y - (ny - 1) / 2) ** 2 > (nx / 2) ** 2


def _add_table(hospital: Hospital, thorax: Thorax) -> np.ndarray:
    """Copy the HU and add the patient table below: a shell with a foam core, flat or curved."""
    x, y, _ = thorax.grid.axes_mm
    hu = thorax.hu_xyz.copy()
    back = float(thorax.grid.first_mm[1] + thorax.grid.spacing_mm[1] * np.argwhere(hu.max((0, 2)) > -500).max())
    sag = 0.0 if hospital.table_flat else 22.0
    top = y - (back + 6.0 - sag * (x / 150.0) ** 2)
    board = (np.abs(x) < 190) & (top > 0) & (top < 26) & (hu < AIR_HU + 50)
    shell = board & ((top < 5) | (top > 21))
    hu[board] = TABLE_CORE_HU
    hu[shell] = TABLE_HU
    return hu


def _draw_noise(rng: np.random.Generator, hospital: Hospital, shape: tuple[int, int, int]) -> np.ndarray:
    """Draw quantum noise with the texture of the kernel: coarse for a soft one, fine for a sharp one."""
    white = rng.standard_normal(shape, dtype=np.float32)
    grain = gaussian_filter(white, (0.6, 0.6, 0.2), truncate=2.5)
    if hospital.sharp:
        grain = white - 0.5 * grain
    return grain * np.float32(hospital.noise_hu / grain[:, :, :4].std())
