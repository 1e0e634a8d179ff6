"""Public research sets of images as cohorts. The sets' own ids are the case ids; docs/public-data.md has the sources.

``root`` of each function is the folder in ``KICC_DATA``, in the layout that docs/public-data.md describes.
"""

import glob
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from kicc_ml.cohort.flow import Cohort, Flow
from kicc_ml.cohort.persons import PersonConflict, resolve_conflicts
from kicc_ml.cohort.public.radiograph_table import (
    CXR_COLUMNS,
    find_images_after_outcome,
    make_radiograph_case,
    read_radiograph_table,
    warn_of_unusable_ids,
)
from kicc_ml.core.errors import UserError
from kicc_ml.core.path_names import find_name_fault
from kicc_ml.core.types import CXR_SCORES, Case
from kicc_ml.dicom.series.image_files import make_nifti_series

logger = logging.getLogger(__name__)

COVID_CT_SEG = Path("ct_volumes/covid_seg_u8")
CT_SUFFIX = "_ct.nii.gz"
COVID_CXR = Path("cxr")
EXTENT = "geographic_extent"
READERS = {"brixia_S": "brixia_reader_1", "brixia_J": "brixia_reader_2"}
#: The findings whose union is the lesion.
OPACITIES = ("ggo", "consolidation")
NO_FINDING = "No Finding"
SCORE_COLUMNS = (EXTENT, "opacity", *READERS)
#: Points of extent of both lungs, and the share of the lung fields that they stand for; between them it is linear.
SHARE_OF_EXTENT = ((0.0, 2.0, 8.0), (0.0, 0.125, 0.875))


def covid_ct_seg(root: str | Path | None) -> Cohort:
    """Read the CT volumes of coronacases and radiopaedia with expert masks of lung and lesion. Each source is a site.

    Files: ``<root>/ct_volumes/covid_seg_u8/<id>_{ct,lung,lesion}.nii.gz``. Grey values are 8 bit and equalised, not HU,
    and the spacing is unknown.

    Source:
        Ma J et al., COVID-19 CT lung and infection segmentation dataset, Zenodo 3757476.

    Raises:
        UserError: the folder is missing or holds no volume, or a mask is missing.
    """
    folder = _folder(root, COVID_CT_SEG)
    found = {path: path.name.removesuffix(CT_SUFFIX) for path in sorted(folder.glob(f"*{CT_SUFFIX}"))}
    volumes = {path: name for path, name in found.items() if not find_name_fault(name)}
    if not volumes:
        raise UserError(f"{folder} holds no <id>{CT_SUFFIX}; lay the volumes and their masks there")
    flow = Flow(rows=len(found), cases=len(volumes), unit="volumes")
    warn_of_unusable_ids(folder, [name for path, name in found.items() if path not in volumes], flow)
    return Cohort([_ct_case(path, name) for path, name in volumes.items()], flow)


def _ct_case(path: Path, name: str) -> Case:
    site = name.split("_")[0]
    masks = {region: path.with_name(f"{name}_{region}.nii.gz") for region in ("lung", "lesion")}
    if missing := [mask.name for mask in masks.values() if not mask.is_file()]:
        raise UserError(f"{path}: {' and '.join(missing)} missing beside it")
    series = make_nifti_series(path, site=site, patient=name, units="arbitrary", spacing_known=False)
    return Case(name, site, person=name, ct=series, masks=masks)


def covid_cxr(root: str | Path | None, person_conflict: PersonConflict = "drop") -> Cohort:
    """Read frontal radiographs of COVID-19 patients with a known outcome (ICU or death). The country is the site.

    Files: ``<root>/cxr/metadata.csv`` and ``<root>/cxr/images/<image_id>.jpg``. Each person is one case, with the
    earliest image by ``offset_days`` (unknown ones last). Images taken in or after intensive care, or after death, are
    excluded; an image from the day of ICU admission is allowed. ``person_group`` identifies persons, and near-duplicate
    images join them. An outcome stated for one image of a person holds for all images of that person.

    Args:
        root: the folder in ``KICC_DATA``.
        person_conflict: the rule for a person with images from two countries. "refuse" raises an error, "drop" keeps
            the country of the earliest image.

    Returns:
        Cases in order of person, with ``age_years``, ``sex`` (1 for men) and endpoints; NaN for unknown. The case id is
        the id of the image.

    Source:
        Cohen JP et al., COVID-19 image data collection, arXiv 2006.11988; COVID-19 image repository, Hannover
        Medical School.

    Raises:
        UserError: the folder, the table or columns are missing; no image is left; a person conflict is refused.
    """
    folder = _folder(root, COVID_CXR)
    flow = Flow(unit="images of the table")
    table = read_radiograph_table(folder / "metadata.csv", flow)
    frontal = table[(table["is_frontal"] == "1") & (table["covid"] == "1") & (table["modality"] == "X-ray")]
    known = frontal[frontal[["icu", "death"]].notna().any(axis=1)]
    usable = known[~find_images_after_outcome(known)]
    in_order = known.assign(late=find_images_after_outcome(known)).sort_values(["late", "offset_days", "image_id"])
    cases = [make_radiograph_case(folder, images) for _, images in in_order.groupby(["person", "site"], sort=False)]
    cases, dropped = resolve_conflicts(cases, person_conflict)
    cases = [case for case in cases if case.case_id in set(usable["image_id"])]
    if not cases:
        raise UserError(f"{folder / 'metadata.csv'}: no frontal COVID-19 image with a known outcome")
    flow.cases = len(cases)
    flow.excluded["no frontal radiograph of COVID-19"] = len(table) - len(frontal)
    flow.excluded["outcome not known"] = len(frontal) - len(known)
    flow.excluded["taken in or after intensive care, or after death"] = len(known) - len(usable)
    flow.excluded["a later image of the person, or of one seen in another country"] = len(usable) - len(cases)
    flow.counts["cases of persons seen in another country too, left out there"] = dropped
    flow.log()
    if unreadable := [case.case_id for case in cases if case.cxr is None]:
        logger.warning("covid_cxr: %d images cannot be read, for example %s", len(unreadable), unreadable[0])
    return Cohort(sorted(cases, key=lambda case: case.person), flow)


def covid_cxr_severity(root: str | Path | None) -> Cohort:
    """Read frontal radiographs with severity scores of radiologists, for any disease and day. The country is the site.

    Files and persons are those of :func:`covid_cxr`. Each image is one case, so a person may have several cases.

    Returns:
        Cases whose ``endpoints`` are the scores of ``records.CXR_SCORES`` divided by the highest possible score, NaN if
        not given. ``brixia`` is the mean of two readers; ``brixia_reader_1`` and ``brixia_reader_2`` are their own
        scores.

    Source:
        See :func:`covid_cxr`; Brixia: Signoroni A et al., Med Image Anal 2021;71:102046.

    Raises:
        UserError: the folder, the table or columns are missing; no image has a score.
    """
    folder = _folder(root, COVID_CXR)
    flow = Flow(unit="images of the table")
    table = read_radiograph_table(folder / "metadata.csv", flow, CXR_COLUMNS | set(SCORE_COLUMNS))
    scores = _shares(table)
    scored = table[scores.notna().any(axis=1) & (table["is_frontal"] == "1") & (table["modality"] == "X-ray")]
    if scored.empty:
        raise UserError(f"{folder / 'metadata.csv'}: no frontal radiograph with a score ({', '.join(SCORE_COLUMNS)})")
    cases = [
        replace(make_radiograph_case(folder, scored.loc[[row]]), endpoints=scores.loc[row].to_dict())
        for row in scored.index
    ]
    flow.cases = len(cases)
    flow.excluded["no scored frontal radiograph"] = len(table) - len(scored)
    flow.log()
    return Cohort(sorted(cases, key=lambda case: case.case_id), flow)


def covid_cxr_masks(root: str | Path | None) -> Cohort:
    """Read frontal radiographs with masks of lungs or opacities, or scores, for any disease. The country is the site.

    Images and persons are those of :func:`covid_cxr`. Each image is one case, so a person may have several cases. The
    lung mask is ``<root>/cxr/lung_masks/<image_id>.png``. The lesion is the union of
    ``<root>/cxr/finding_masks/<image_id>__{ggo,consolidation}.png``. An image is known to have no lesion if it has only
    other finding masks, if its finding is "No Finding", if both readers gave 0 Brixia points, or if its extent is 0;
    not if it was given an extent above 0 all the same. The published finding masks of the lungs (``__left_lung``,
    ``__right_lung``) are empty and are not used. ``opacity_share`` of a case is what its extent says, or without one
    its Brixia score; an image may have such a score alone.

    Source:
        See :func:`covid_cxr`; masks: Figure 1 and GeneralBlockchain's covid-19-chest-xray-segmentations-dataset.

    Raises:
        UserError: the folder, the table or columns are missing; no image has a mask.
    """
    folder = _folder(root, COVID_CXR)
    flow = Flow(unit="images of the table")
    table = read_radiograph_table(folder / "metadata.csv", flow, CXR_COLUMNS | {"finding", EXTENT, *READERS})
    points = table[list(READERS)].apply(pd.to_numeric, errors="coerce")
    extent = pd.to_numeric(table[EXTENT], errors="coerce")
    clear = (table["finding"] == NO_FINDING) | (points == 0).all(axis=1) | (extent == 0)
    clear &= ~(extent > 0)  # readers who disagree state nothing
    masks = {
        image_id: _cxr_masks(folder, image_id, no_lesion)
        for image_id, no_lesion in zip(table["image_id"], clear, strict=True)
    }
    share = _opacity_shares(table).where(~clear, 0.0)
    known = table[table["image_id"].map(lambda image_id: bool(masks[image_id])) | share.notna()]
    frontal = known[(known["is_frontal"] == "1") & (known["modality"] == "X-ray")]
    if not any(masks[image_id] for image_id in frontal["image_id"]):
        raise UserError(f"{folder}: no frontal radiograph has a mask in lung_masks or finding_masks")
    cases = [
        replace(
            make_radiograph_case(folder, frontal.loc[[row]]),
            cxr_masks=masks[frontal.loc[row, "image_id"]],
            opacity_share=None if np.isnan(share[row]) else float(share[row]),
        )
        for row in frontal.index
    ]
    flow.cases = len(cases)
    flow.excluded["neither mask nor score"] = len(table) - len(known)
    flow.excluded["no frontal radiograph"] = len(known) - len(frontal)
    flow.log()
    return Cohort(sorted(cases, key=lambda case: case.case_id), flow)


def _cxr_masks(folder: Path, image_id: str, no_lesion: bool) -> dict[str, tuple[Path, ...]]:
    masks: dict[str, tuple[Path, ...]] = {}
    if (lung := folder / "lung_masks" / f"{image_id}.png").is_file():
        masks["lung"] = (lung,)
    findings = {
        path.stem.rsplit("__", 1)[-1]: path
        for path in (folder / "finding_masks").glob(f"{glob.escape(image_id)}__*.png")
    }
    if findings or no_lesion:
        masks["lesion"] = tuple(findings[name] for name in OPACITIES if name in findings)
    return masks


def _shares(table: pd.DataFrame) -> pd.DataFrame:
    """Compute the scores of each image as shares from 0 to 1: those of ``CXR_SCORES`` and the Brixia of each reader."""
    points = table[list(SCORE_COLUMNS)].apply(pd.to_numeric, errors="coerce").rename(columns=READERS)
    points["brixia"] = points[list(READERS.values())].mean(axis=1)
    return points / [CXR_SCORES[score.split("_reader_")[0]] for score in points]


def _opacity_shares(table: pd.DataFrame) -> pd.Series:
    """Compute how much of the lung fields readers call opaque, 0 to 1; NaN without a score.

    A lung has 1 to 4 points of extent for each quarter that is reached, so that the middle of a quarter is its share.
    Brixia points are taken for points of extent as shares of the most: with both, they differ by little on average.
    """
    shares = _shares(table.reindex(columns=[*SCORE_COLUMNS]))
    of_both_readers = shares["brixia"].where(shares[list(READERS.values())].notna().all(axis=1))
    points = CXR_SCORES[EXTENT] * shares[EXTENT].fillna(of_both_readers)
    middle = pd.Series(np.interp(points, *SHARE_OF_EXTENT), index=table.index)
    return middle.where(points.notna())


def _folder(root: str | Path | None, inside: Path) -> Path:
    """Find the folder of a set. Raises UserError, with the remedy, if it is missing."""
    if root is None or not str(root):
        raise UserError(
            f"no folder of public data is given: set KICC_DATA=DIR (or cohort.root=DIR), with {inside} in it"
        )
    folder = Path(root) / inside
    if not folder.is_dir():
        raise UserError(
            f"{folder} does not exist: KICC_DATA (or cohort.root) names {root}, which should hold {inside}; "
            "docs/public-data.md says where to get the set and how to lay it out"
        )
    return folder
