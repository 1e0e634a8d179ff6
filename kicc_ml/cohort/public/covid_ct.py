"""Public CT sets with masks of lesions as NIfTI, by the layout in which each is published.

``root`` of each function is the folder into which the set was unpacked, or one above it. Files are found by their names
wherever below it they lie. Case ids are the names that the files were published under.
"""

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from kicc_ml.cohort.flow import Cohort, Flow
from kicc_ml.cohort.public.nifti_files import Scan, by_name, cohort_of, existing_folder, nifti_below
from kicc_ml.core.shown import format_count
from kicc_ml.dicom.series.image_files import make_nifti_series, strip_suffix

logger = logging.getLogger(__name__)

UNIT = "scans in the folder"

#: HU of the grey values 0 and 255 of the scans of Radiopaedia in COVID-19-CT-Seg, which were saved in a lung window.
RADIOPAEDIA_WINDOW_HU = (-1250.0, 250.0)
#: What the values of ``Lung_Mask`` stand for; lesions within a lung are part of it.
LUNG_LABELS = {1: "left_lung", 2: "right_lung"}
#: Names of its files, and of the copy of Kaggle (``coronacases_org_001``,
#: ``radiopaedia_org_covid-19-pneumonia-10_85902_1-dcm``). Of Radiopaedia the first number is one per patient.
CORONACASES = re.compile(r"coronacases(?:_org)?_(\d+)", re.IGNORECASE)
RADIOPAEDIA = re.compile(r"radiopaedia_(?:org_covid-19-pneumonia-)?(\d+)_(\d+)_(\d+)(?:-dcm)?", re.IGNORECASE)


def covid19_ct_seg(root: str | Path | None) -> Cohort:
    """COVID-19-CT-Seg: twenty scans of coronacases.org and Radiopaedia with masks of both lungs and of lesions.

    Read from scans ``coronacases_NNN.nii.gz`` and ``radiopaedia_*.nii.gz``, and files of the same names in the folders
    ``Lung_Mask`` (1 left lung, 2 right lung) and ``Infection_Mask`` (lesion). ``Lung_and_Infection_Mask`` repeats
    these and is not read. Scans of coronacases are in HU; those of Radiopaedia are grey values of a lung window, read
    as HU from -1250 to 250, beyond which they were cut off. The source is the site; scans of Radiopaedia under one
    number are of one person.

    Source:
        Ma J et al., COVID-19 CT lung and infection segmentation dataset, Zenodo 3757476 (CC BY 4.0).

    Raises:
        UserError: the folder is not there, or holds no scan with masks.
    """
    folder = existing_folder(root, "covid19_ct_seg")
    found = [path for path in nifti_below(folder) if _ct_seg_name(path)]
    scans = by_name((path for path in found if not _is_mask(path, folder)), _ct_seg_name)
    masks = {
        kind: by_name((path for path in found if _is_mask(path, folder, kind)), _ct_seg_name)
        for kind in ("lung", "infection")
    }
    _warn_of_lone_masks(folder, {name for files in masks.values() for name in files} - set(scans))
    flow = Flow(rows=len(scans), unit=UNIT)
    layout = "coronacases_*.nii.gz and radiopaedia_*.nii.gz with the folders Lung_Mask and Infection_Mask"
    return cohort_of([_ct_seg_scan(name, path, masks) for name, path in scans.items()], flow, folder, layout)


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
    """The name under which a scan or mask was published; "" for a file of another set."""
    if found := CORONACASES.fullmatch(strip_suffix(path)):
        return f"coronacases_{found[1]}"
    if found := RADIOPAEDIA.fullmatch(strip_suffix(path)):
        return f"radiopaedia_{found[1]}_{found[2]}_{found[3]}"
    return ""


def _is_mask(path: Path, root: Path, kind: str = "") -> bool:
    """Whether a file lies in a folder of masks, or in that of one kind: ``Lung_Mask``, ``lung masks``."""
    folders = [_plain(part) for part in path.relative_to(root).parts[:-1]]
    return f"{kind}mask" in folders if kind else any(folder.endswith("mask") for folder in folders)


def _plain(name: str) -> str:
    """A name without case, blanks, lines and a plural."""
    return re.sub(r"[\W_]+", "", name.lower()).removesuffix("s")


def _warn_of_lone_masks(folder: Path, names: set[str]) -> None:
    if names:
        logger.warning(
            "%s: %s without a scan of that name, for example %s; not used",
            folder,
            format_count(len(names), "mask"),
            min(names),
        )
