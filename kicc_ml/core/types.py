"""Data classes that are passed along the line, from the DICOM repository to the report.

Axes: an image array is indexed ``[x, y, z]`` (a radiograph has one slice); a leading ``c`` or ``b`` in a
name is channel or batch. ``affine_ras`` maps such an index to patient millimetres in the RAS convention of
NIfTI. DICOM's LPS is converted to RAS in one place, :mod:`kicc_ml.dicom.series.geometry`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Literal

import numpy as np

from kicc_ml.core.errors import UserError
from kicc_ml.core.path_names import check_distinct, check_path_name
from kicc_ml.core.shown import make_printable

#: What can be predicted for a patient; column names of the clinical table.
ENDPOINTS = ("oxygen", "ventilation", "icu", "death")

#: Endpoints of public cohorts beside these; a consortium's own have the names that it gives them.
FURTHER_ENDPOINTS = ("severe",)

#: Scores of a radiograph by radiologists, and their maximum: extent and opacity of both lungs (Wong HYF et
#: al., Radiology 2020;296:E72, as in Cohen JP et al., Cureus 2020;12:e9448), Brixia of six zones (Borghesi A & Maroldi
#: R, Radiol Med 2020;125:509).
CXR_SCORES = {"geographic_extent": 8.0, "opacity": 6.0, "brixia": 18.0}


Verdict = Literal["usable", "repaired", "refused"]
Units = Literal["hu", "arbitrary"]
Modality = Literal["CT", "CXR"]
#: Lowest HU: some scanners pad outside the field of view below it; -1024 is the lowest value of 12-bit CT.
HU_FLOOR = -1024
HU_CEILING = np.iinfo(np.int16).max
#: Whether the file of a radiograph states its orientation: as usual (the patient's right on the picture's left), not at
#: all, or another one.
DisplayOrientation = Literal["stated", "unstated", "otherwise"]
#: How it was decided what is bright on a radiograph: as the file has it (``kept``); the file cannot say and the picture
#: does not show it (``unsure``); or inverted, because the picture is a negative of which the file says nothing
#: (``inverted_unstated``) or the opposite (``inverted_against_file``).
Polarity = Literal["kept", "unsure", "inverted_unstated", "inverted_against_file"]


@dataclass(frozen=True)
class Series:
    """One image series of a repository with the verdict of the intake. Refused series are included.

    ``patient``, ``study`` and ``uid`` are pseudonyms. ``files`` are in order of position along the slice
    normal. A multi-frame object has one file, and ``frames`` are its frames (from 0) in that order.
    ``spacing_mm`` is (x, y, z): between columns, rows and slices; None where it is not known. A ``repaired``
    series is read as its reasons say: ``gantry_tilt`` sheared back, ``missing_slice`` and ``uneven_spacing``
    resampled by true positions. ``acquired`` is the true time and stays in memory: what is written down is
    ``acquired_after_study_s``.
    """

    site: str
    patient: str
    study: str
    uid: str
    modality: str  # "CT", "CXR", or the DICOM modality of what is neither
    files: tuple[Path, ...]
    rows: int
    columns: int
    slices: int
    spacing_mm: tuple[float, float, float] | None
    units: Units
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    acquired: datetime | None = None
    projection: str = ""  # "AP", "PA" or "" for a radiograph
    vendor: str = ""
    model: str = ""
    kernel: str = ""
    slice_thickness_mm: float | None = None
    frames: tuple[int, ...] = ()
    plane: str = ""  # "axial", "coronal", "sagittal", "oblique"; "" for a radiograph
    coverage_mm: float | None = None  # along the normal, first to last slice and one spacing
    tilt_degrees: float | None = None
    view: str = ""  # "AP", "PA", "lateral" or "" of a radiograph
    dose_class: str = ""  # "low", "standard" or "" where the file states no dose
    transfer_syntax: str = ""  # UID
    acquired_after_study_s: float | None = None
    origin: str = ""  # address of the DICOMweb service whose cached files these are; "" on disk
    grey_window_hu: tuple[float, float] | None = None  # HU of the grey values 0 and 255, of a NIfTI that was windowed

    def __post_init__(self) -> None:
        check_path_name(self.uid, "the name of the series")

    @property
    def usable(self) -> bool:
        """Return whether the series may be read."""
        return self.verdict != "refused"


@dataclass(frozen=True)
class Volume:
    """An image read from disk: ``array[x, y, z]`` on the scanner's own grid; a radiograph has one slice.

    ``spacing_known`` is False if the file states no spacing (the affine then counts voxels). ``orientation_known`` is
    False if the file does not state how the image lies in the patient (the affine then holds voxel sizes only).
    ``polarity`` says how it was decided what is bright on a radiograph.
    """

    array: np.ndarray
    affine_ras: np.ndarray
    units: Units
    spacing_known: bool = True
    orientation_known: bool = True
    polarity: Polarity = "kept"

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """Return the voxel spacing along each array axis in mm."""
        return tuple(float(mm) for mm in np.linalg.norm(self.affine_ras[:3, :3], axis=0))


@dataclass(frozen=True)
class Case:
    r"""A patient at a hospital: the index images, the clinical row, and the known outcomes.

    ``clinical`` and ``endpoints`` hold NaN for what is unknown. ``masks`` maps a region
    (:data:`kicc_ml.core.regions.MASK_NAMES`) to a NIfTI on the grid of the CT, ``cxr_masks`` to the files, of the
    pixels of the radiograph, that make it up together: none where it is known to be absent; ``mask_labels`` says what
    the values of a mask file of several labels stand for, ``region_labels`` the same of the file of one region, where a
    set's files differ. ``person`` groups what must stay on one side of a
    split. ``further`` are images of other times that count too, where a cohort pools serial ones. ``opacity_share`` is
    the share of a radiograph's lung fields that is opaque, 0 to 1, as readers say; None if they do not.

    Control characters in ``site`` are written out, as ``\x1b``.

    Raises UserError for an id that could not be the name of a folder of results.
    """

    case_id: str
    site: str
    person: str
    ct: Series | None = None
    cxr: Series | None = None
    clinical: Mapping[str, float] = field(default_factory=dict)
    endpoints: Mapping[str, float] = field(default_factory=dict)
    masks: Mapping[str, Path] = field(default_factory=dict)
    admitted: date | None = None
    cxr_masks: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    mask_labels: Mapping[int, str] = field(default_factory=dict)
    region_labels: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    further: tuple[Series, ...] = ()
    opacity_share: float | None = None

    def __post_init__(self) -> None:
        check_path_name(self.case_id, "the case id")
        # A hospital's name may be a cell of somebody's table; it stands in files and on pages of every run.
        object.__setattr__(self, "site", make_printable(self.site))

    def labels_of(self, region: str) -> Mapping[int, str]:
        """Return what the values of the mask file of a region stand for; empty if it has two values."""
        return self.region_labels.get(region, self.mask_labels)

    def image(self, modality: Modality) -> Series | None:
        """Return the case's series of a modality, if there is one."""
        return self.ct if modality == "CT" else self.cxr

    @property
    def views(self) -> list["Case"]:
        """The case itself and, with an id of its own, a copy for each further image in place of the index image."""
        turned = []
        for number, series in enumerate(self.further, start=1):
            ct, cxr = (series, self.cxr) if series.modality == "CT" else (self.ct, series)
            alone = replace(
                self, case_id=f"{self.case_id}+{number}", ct=ct, cxr=cxr, further=(), masks={}, cxr_masks={}
            )
            turned.append(alone)
        return [self, *turned]


@dataclass(frozen=True)
class Split:
    """One fold: the case ids for training, validation and testing.

    Raises:
        UserError: a person is in two of the three subsets.
    """

    fold: str
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    person_of: Mapping[str, str]

    def __post_init__(self) -> None:
        subsets = {name: {self.person_of[case] for case in getattr(self, name)} for name in ("train", "val", "test")}
        for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
            if shared := subsets[first] & subsets[second]:
                raise UserError(
                    f"fold {self.fold}: {len(shared)} person(s) in both {first} and {second}, for example "
                    f"{min(shared)}; a split must be grouped by person"
                )


@dataclass(frozen=True)
class SeverityMap:
    """How much of the lung is affected, and where (see :mod:`kicc_ml.severity.grade` for cut-offs and sources).

    ``zone_percent`` and ``zone_score`` are keyed ``right_upper`` ... ``left_lower``; empty, and ``score`` None,
    where the sides are not known. Millilitres and grams are None without spacing or HU.
    """

    zone_percent: Mapping[str, float | None]
    zone_score: Mapping[str, int | None]
    score: int | None
    percent_involved: float | None
    percent_consolidated: float | None
    lung_ml: float | None
    lesion_ml: float | None
    lesion_g: float | None
    reasons: tuple[str, ...] = ()
    lung_percent: Mapping[str, float | None] = field(default_factory=dict)  # involved, of ``right`` and ``left``
    lesion_count: int | None = None  # connected, each of at least the smallest volume that counts
    largest_lesion_ml: float | None = None
    uncertain_percent: float | None = None  # of the lung: where the model is sure neither of a lesion nor of none
    geographic_extent: int | None = None  # of a radiograph, 0-8
    own_scores: Mapping[str, float | None] = field(default_factory=dict)  # of the user's task, by name

    @property
    def without_sides(self) -> "SeverityMap":
        """What is left where nobody can tell which side is which."""
        return replace(self, zone_percent={}, zone_score={}, score=None, lung_percent={})


@dataclass(frozen=True)
class OutOfRangeFeature:
    """An image ``feature`` whose ``value`` lies outside the range (``low`` to ``high``) of other hospitals.

    Features are those of :mod:`kicc_ml.severity.image_features`.
    """

    feature: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Risk:
    """The predicted probability of an endpoint.

    ``low`` and ``high`` are the bounds of its 90 % interval, None if there is none. ``calibration`` holds the
    calibration at held-out hospitals: ``slope``, ``intercept``, ``O:E``, and ``held_out``, which says who was held out.
    ``clinical`` is the risk by the clinical table alone (the baseline ``clinical``), None if there is no such model or
    no value that it could use.
    """

    endpoint: str
    probability: float
    low: float | None
    high: float | None
    calibration: Mapping[str, str]
    clinical: float | None = None


@dataclass(frozen=True)
class RadiographScore:
    """A radiologist's score (a key of ``CXR_SCORES``) as predicted for a radiograph: ``points`` of at most ``most``.

    ``r`` (Pearson) and ``mae_points`` are those of such predictions of ``films`` that were held out; None where the run
    was not evaluated.
    """

    score: str
    points: float
    most: float
    r: float | None = None
    mae_points: float | None = None
    films: int | None = None


def index_by_id(cases: Iterable[Case]) -> dict[str, Case]:
    """Index cases by id.

    Raises:
        UserError: an id occurs twice, or two ids would be the same folder on some disks.
    """
    found: dict[str, Case] = {}
    for case in cases:
        if case.case_id in found:
            raise UserError(f"case {case.case_id} occurs twice in the cohort")
        found[case.case_id] = case
    check_distinct(found, "the case ids")
    return found
