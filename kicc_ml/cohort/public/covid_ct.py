"""Public CT sets with lesion masks as NIfTI, in their published layouts.

``root`` of each function is the folder into which the set was unpacked, or a folder above it. Files are found by name
at any depth. Case ids are the published file names.
"""

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from kicc_ml.cohort.flow import Cohort, Flow
from kicc_ml.cohort.public.nifti_files import (
    Scan,
    existing_folder,
    index_by_name,
    list_nifti_files,
    make_cohort,
    without_hospitals,
)
from kicc_ml.core.shown import format_count
from kicc_ml.dicom.series.image_files import make_nifti_series, strip_suffix

logger = logging.getLogger(__name__)

UNIT = "scans in the folder"
CHALLENGE = re.compile(r"volume-covid19-.+_(ct|seg)", re.IGNORECASE)
MOSMED = re.compile(r"study_\d+(_mask)?", re.IGNORECASE)
MASK_SUFFIX = "_mask"
MEDSEG_LABELS = {1: "ground_glass", 2: "consolidation", 3: "pleural_effusion"}
#: The lung mask has one value, or one value for each lung.
MEDSEG_LUNG_LABELS = {1: "lung", 2: "lung"}

#: HU of the grey values 0 and 255 of the Radiopaedia scans in COVID-19-CT-Seg, which were saved in a lung window.
RADIOPAEDIA_WINDOW_HU = (-1250.0, 250.0)
#: The meaning of the values in ``Lung_Mask``; a lesion within a lung has the value of that lung.
LUNG_LABELS = {1: "left_lung", 2: "right_lung"}
#: File names of the set, and of the copy on Kaggle (``coronacases_org_001``,
#: ``radiopaedia_org_covid-19-pneumonia-10_85902_1-dcm``). The first number of a Radiopaedia name identifies the
#: patient.
CORONACASES = re.compile(r"coronacases(?:_org)?_(\d+)", re.IGNORECASE)
RADIOPAEDIA = re.compile(r"radiopaedia_(?:org_covid-19-pneumonia-)?(\d+)_(\d+)_(\d+)(?:-dcm)?", re.IGNORECASE)


def covid19_ct_seg(root: str | Path | None) -> Cohort:
    """Read COVID-19-CT-Seg: twenty scans of coronacases.org and Radiopaedia with masks of both lungs and of lesions.

    Scans are ``coronacases_NNN.nii.gz`` and ``radiopaedia_*.nii.gz``; masks have the same names in the folders
    ``Lung_Mask`` (1 left lung, 2 right lung) and ``Infection_Mask`` (lesion). ``Lung_and_Infection_Mask`` repeats them
    and is not read. Coronacases scans are in HU. Radiopaedia scans are grey values of a lung window; they are read as
    HU from -1250 to 250, and values beyond the window are lost. The source is the site. Radiopaedia scans with the same
    number belong to one person.

    Source:
        Ma J et al., COVID-19 CT lung and infection segmentation dataset, Zenodo 3757476 (CC BY 4.0).

    Raises:
        UserError: the folder does not exist, or holds no scan with masks.
    """
    folder = existing_folder(root, "covid19_ct_seg")
    found = [path for path in list_nifti_files(folder) if _ct_seg_name(path)]
    scans = index_by_name((path for path in found if not _is_mask(path, folder)), _ct_seg_name)
    masks = {
        kind: index_by_name((path for path in found if _is_mask(path, folder, kind)), _ct_seg_name)
        for kind in ("lung", "infection")
    }
    _warn_of_lone_masks(folder, {name for files in masks.values() for name in files} - set(scans))
    flow = Flow(rows=len(scans), unit=UNIT)
    layout = "coronacases_*.nii.gz and radiopaedia_*.nii.gz with the folders Lung_Mask and Infection_Mask"
    return make_cohort([_ct_seg_scan(name, path, masks) for name, path in scans.items()], flow, folder, layout)


def _ct_seg_scan(name: str, path: Path, files: Mapping[str, Mapping[str, Path]]) -> Scan:
    source, number, *_ = name.split("_")
    lung, lesion = (files[kind].get(name) for kind in ("lung", "infection"))
    windowed = source == "radiopaedia"
    return Scan(
        name,
        source,
        make_nifti_series(
            path, site=source, patient=name, units="hu", grey_window_hu=RADIOPAEDIA_WINDOW_HU if windowed else None
        ),
        {"left_lung": lung, "right_lung": lung, "lesion": lesion} if lung and lesion else {},
        {"left_lung": LUNG_LABELS, "right_lung": LUNG_LABELS},
        person=f"{source}_{number}",
    )


def _ct_seg_name(path: Path) -> str:
    """Parse the published name of a scan or mask; "" for a file of another set."""
    if found := CORONACASES.fullmatch(strip_suffix(path)):
        return f"coronacases_{found[1]}"
    if found := RADIOPAEDIA.fullmatch(strip_suffix(path)):
        return f"radiopaedia_{found[1]}_{found[2]}_{found[3]}"
    return ""


def _is_mask(path: Path, root: Path, kind: str = "") -> bool:
    """Tell whether a file is in a folder of masks, or in one of the given kind: ``Lung_Mask``, ``lung masks``."""
    folders = [_plain(part) for part in path.relative_to(root).parts[:-1]]
    return f"{kind}mask" in folders if kind else any(folder.endswith("mask") for folder in folders)


def _plain(name: str) -> str:
    """Reduce a name to lower case letters and digits without a plural s."""
    return re.sub(r"[\W_]+", "", name.lower()).removesuffix("s")


def covid19_20(root: str | Path | None) -> Cohort:
    """Read the COVID-19-20 challenge: 199 scans with lesion masks. The 50 scans without masks are left out.

    Scans are ``volume-covid19-A-NNNN_ct.nii.gz`` in HU; masks are ``volume-covid19-A-NNNN_seg.nii.gz`` (0 and 1, the
    lesion). Hospitals are not published, so the source is the site. The patients are those of TCIA's collection
    ``CT Images in COVID-19`` (August 2020).

    Source:
        Roth HR et al., Med Image Anal 2022;82:102605; covid-segmentation.grand-challenge.org.

    Raises:
        UserError: the folder does not exist, or holds no scan with a mask.
    """
    folder = existing_folder(root, "covid19_20")
    found = list_nifti_files(folder)
    images, masks = (
        index_by_name((path for path in found if _challenge_kind(path) == kind), _challenge_name)
        for kind in ("ct", "seg")
    )
    _warn_of_lone_masks(folder, set(masks) - set(images))
    scans = [
        Scan(
            name,
            "covid19_20",
            make_nifti_series(path, site="covid19_20", patient=name, units="hu"),
            {"lesion": masks[name]} if name in masks else {},
        )
        for name, path in images.items()
    ]
    flow = Flow(rows=len(scans), unit=UNIT)
    layout = "volume-covid19-A-*_ct.nii.gz with volume-covid19-A-*_seg.nii.gz beside them"
    return without_hospitals(make_cohort(scans, flow, folder, layout))


def _challenge_name(path: Path) -> str:
    return strip_suffix(path).rpartition("_")[0]


def _challenge_kind(path: Path) -> str:
    """Parse the kind of a file, ``ct`` or ``seg``; "" for a file of another set."""
    found = CHALLENGE.fullmatch(strip_suffix(path))
    return found[1].lower() if found else ""


def mosmed(root: str | Path | None) -> Cohort:
    """Read MosMedData: the 50 of 1,110 studies from Moscow that have a lesion mask. The others are counted.

    Scans are ``study_NNNN.nii.gz`` in HU, in folders ``CT-0`` (no findings) to ``CT-4`` (over three quarters of the
    lung involved); masks are ``study_NNNN_mask.nii.gz`` (0 and 1: ground glass and consolidation, the lesion).
    Hospitals are not published, so the source is the site.

    Source:
        Morozov SP et al., MosMedData, arXiv 2005.06465 (CC BY-NC-ND 3.0).

    Raises:
        UserError: the folder does not exist, or holds no scan with a mask.
    """
    folder = existing_folder(root, "mosmed")
    found = [path for path in list_nifti_files(folder) if MOSMED.fullmatch(strip_suffix(path))]
    studies = index_by_name(path for path in found if not strip_suffix(path).lower().endswith(MASK_SUFFIX))
    masks = index_by_name((path for path in found if strip_suffix(path).lower().endswith(MASK_SUFFIX)), _mosmed_study)
    _warn_of_lone_masks(folder, set(masks) - set(studies))
    scans = [
        Scan(
            name,
            "mosmed",
            make_nifti_series(path, site="mosmed", patient=name, units="hu"),
            {"lesion": masks[name]} if name in masks else {},
        )
        for name, path in studies.items()
    ]
    layout = "studies/CT-*/study_*.nii.gz and masks/study_*_mask.nii.gz"
    return without_hospitals(make_cohort(scans, Flow(rows=len(scans), unit=UNIT), folder, layout))


def _mosmed_study(path: Path) -> str:
    return strip_suffix(path)[: -len(MASK_SUFFIX)]


def medseg(root: str | Path | None) -> Cohort:
    """Read MedSeg: nine scans of Radiopaedia with masks of ground glass, consolidation and lungs.

    Scans are ``rp_im/N.nii.gz`` in HU; masks are ``rp_msk/N.nii.gz`` (1 ground glass, 2 consolidation, 3 pleural
    effusion, which is not a lesion of the lung) and ``rp_lung_msk/N.nii.gz``. Hospitals are not published, so
    Radiopaedia is the site. Some scans may be those of ``covid19_ct_seg``.

    Source:
        MedSeg, medicalsegmentation.com/covid19; figshare 13521488 (CC0).

    Raises:
        UserError: the folder does not exist, or holds no scan with masks.
    """
    folder = existing_folder(root, "medseg")
    found = list_nifti_files(folder)
    scans, masks, lungs = (
        index_by_name(path for path in found if path.parent.name.lower() == kind and strip_suffix(path).isdecimal())
        for kind in ("rp_im", "rp_msk", "rp_lung_msk")
    )
    _warn_of_lone_masks(folder, {*masks, *lungs} - set(scans))
    placed = [_medseg_scan(number, path, masks.get(number), lungs.get(number)) for number, path in scans.items()]
    flow = Flow(rows=len(scans), unit=UNIT)
    return without_hospitals(make_cohort(placed, flow, folder, "rp_im/*.nii.gz, rp_msk/*.nii.gz, rp_lung_msk/*.nii.gz"))


def _medseg_scan(number: str, path: Path, mask: Path | None, lung: Path | None) -> Scan:
    masks = {"ground_glass": mask, "consolidation": mask} if mask else {}
    name = f"medseg_{int(number)}"
    return Scan(
        name,
        "radiopaedia",
        make_nifti_series(path, site="radiopaedia", patient=name, units="hu"),
        masks | ({"lung": lung} if mask and lung else {}),
        {**dict.fromkeys(masks, MEDSEG_LABELS), "lung": MEDSEG_LUNG_LABELS},
    )


def _warn_of_lone_masks(folder: Path, names: set[str]) -> None:
    if names:
        logger.warning(
            "%s: %s without a scan of that name, for example %s; not used",
            folder,
            format_count(len(names), "mask"),
            min(names),
        )
