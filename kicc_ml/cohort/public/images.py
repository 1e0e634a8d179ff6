"""Public research sets of images as cohorts. The sets' own ids are the case ids; README says where to get the sets.

``root`` of each function is the folder in ``KICC_DATA``, in the layout that README describes.
"""

import glob
import logging
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from kicc_ml.cohort.clinical_table import MAX_AGE_YEARS
from kicc_ml.cohort.flow import Cohort, Flow
from kicc_ml.cohort.persons import PersonConflict, link_persons, resolve_conflicts
from kicc_ml.core.errors import UserError
from kicc_ml.core.path_names import MAX_BYTES, find_name_fault
from kicc_ml.core.shown import make_printable
from kicc_ml.core.types import CXR_SCORES, Case
from kicc_ml.dicom.series.image_files import make_nifti_series, make_radiograph_series

logger = logging.getLogger(__name__)

COVID_CT_SEG = Path("ct_volumes/covid_seg_u8")
CT_SUFFIX = "_ct.nii.gz"
COVID_CXR = Path("cxr")
#: The column of the CXR table for each endpoint.
ENDPOINT_COLUMNS = {
    "oxygen": "supplemental_o2",
    "ventilation": "intubated",
    "icu": "went_icu",
    "death": "death",
}
NUMBERS = ("offset_days", "in_icu_at_image", "icu_admission_offset", "death_offset")
CXR_COLUMNS = {
    *("image_id", "site", "person_group", "near_duplicate_group", "sex", "age", "covid", "modality", "view"),
    *("is_frontal", *NUMBERS, *ENDPOINT_COLUMNS.values()),
}
READERS = {"brixia_S": "brixia_reader_1", "brixia_J": "brixia_reader_2"}
#: The findings whose union is the lesion.
OPACITIES = ("ggo", "consolidation")
NO_FINDING = "No Finding"
SCORE_COLUMNS = ("geographic_extent", "opacity", *READERS)
#: "AP Supine" and "AP erect" are read as AP.
PROJECTION = re.compile(r"^(AP|PA)\b")
#: "early 40s" is read as 42, "mid 50s" as 55, "late 60s" as 68, "50+" as 50.
PART_OF_DECADE_YEARS = {"early": 2, "mid": 5, "late": 8}


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
    _warn_of_ids(folder, [name for path, name in found.items() if path not in volumes], flow)
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
    table = _read_metadata(folder / "metadata.csv", flow)
    frontal = table[(table["is_frontal"] == "1") & (table["covid"] == "1") & (table["modality"] == "X-ray")]
    known = frontal[frontal[["icu", "death"]].notna().any(axis=1)]
    usable = known[~_after_outcome(known)]
    in_order = known.assign(late=_after_outcome(known)).sort_values(["late", "offset_days", "image_id"])
    cases = [_cxr_case(folder, images) for _, images in in_order.groupby(["person", "site"], sort=False)]
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
    table = _read_metadata(folder / "metadata.csv", flow, CXR_COLUMNS | set(SCORE_COLUMNS))
    scores = _shares(table)
    scored = table[scores.notna().any(axis=1) & (table["is_frontal"] == "1") & (table["modality"] == "X-ray")]
    if scored.empty:
        raise UserError(f"{folder / 'metadata.csv'}: no frontal radiograph with a score ({', '.join(SCORE_COLUMNS)})")
    cases = [replace(_cxr_case(folder, scored.loc[[row]]), endpoints=scores.loc[row].to_dict()) for row in scored.index]
    flow.cases = len(cases)
    flow.excluded["no scored frontal radiograph"] = len(table) - len(scored)
    flow.log()
    return Cohort(sorted(cases, key=lambda case: case.case_id), flow)


def covid_cxr_masks(root: str | Path | None) -> Cohort:
    """Read frontal radiographs with masks of the lungs or of opacities, for any disease. The country is the site.

    Images and persons are those of :func:`covid_cxr`. Each image is one case, so a person may have several cases. The
    lung mask is ``<root>/cxr/lung_masks/<image_id>.png``. The lesion is the union of
    ``<root>/cxr/finding_masks/<image_id>__{ggo,consolidation}.png``. An image is known to have no lesion if it has only
    other finding masks, if its finding is "No Finding", or if both readers gave 0 Brixia points. The published finding
    masks of the lungs (``__left_lung``, ``__right_lung``) are empty and are not used.

    Source:
        See :func:`covid_cxr`; masks: Figure 1 and GeneralBlockchain's covid-19-chest-xray-segmentations-dataset.

    Raises:
        UserError: the folder, the table or columns are missing; no image has a mask.
    """
    folder = _folder(root, COVID_CXR)
    flow = Flow(unit="images of the table")
    table = _read_metadata(folder / "metadata.csv", flow, CXR_COLUMNS | {"finding", *READERS})
    points = table[list(READERS)].apply(pd.to_numeric, errors="coerce")
    clear = (table["finding"] == NO_FINDING) | (points == 0).all(axis=1)
    masks = {
        image_id: _cxr_masks(folder, image_id, no_lesion)
        for image_id, no_lesion in zip(table["image_id"], clear, strict=True)
    }
    marked = table[table["image_id"].map(lambda image_id: bool(masks[image_id]))]
    frontal = marked[(marked["is_frontal"] == "1") & (marked["modality"] == "X-ray")]
    if frontal.empty:
        raise UserError(f"{folder}: no frontal radiograph has a mask in lung_masks or finding_masks")
    cases = [
        replace(_cxr_case(folder, frontal.loc[[row]]), cxr_masks=masks[frontal.loc[row, "image_id"]])
        for row in frontal.index
    ]
    flow.cases = len(cases)
    flow.excluded["no mask"] = len(table) - len(marked)
    flow.excluded["no frontal radiograph"] = len(marked) - len(frontal)
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
            "README says where to get the set and how to lay it out"
        )
    return folder


def _read_metadata(path: Path, flow: Flow, columns: Collection[str] = CXR_COLUMNS) -> pd.DataFrame:
    """Read the CXR table: join persons over near-duplicate images, and convert the used columns to numbers.

    ``flow`` receives the number of rows, and the number of rows left out because their id is unusable.
    """
    try:
        # damaged accents in free text do no harm: no lookup uses these columns
        table = pd.read_csv(path, dtype=str, encoding_errors="replace")
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; lay the set's table there") from error
    if missing := sorted(set(columns) - set(table)):
        raise UserError(f"{path}: column(s) missing: {', '.join(missing)}")
    flow.rows = len(table)
    usable = table["image_id"].fillna("").map(lambda image_id: not find_name_fault(image_id))
    _warn_of_ids(path, table.loc[~usable, "image_id"].fillna("").tolist(), flow)
    table = table[usable].reset_index(drop=True)
    traces = table[["person_group", "near_duplicate_group"]].to_dict("index")
    first = link_persons([{item for item in one.items() if not pd.isna(item[1])} for one in traces.values()])
    numbers = {name: pd.to_numeric(table[name], errors="coerce") for name in NUMBERS}
    outcomes = {name: pd.to_numeric(table[column], errors="coerce") for name, column in ENDPOINT_COLUMNS.items()}
    table = table.assign(**numbers, person=table["person_group"].to_numpy()[first])
    # An outcome stated for any image of a person holds for the person; an event outranks "no event".
    return table.assign(**pd.DataFrame(outcomes).groupby(table["person"]).transform("max"))


def _warn_of_ids(place: Path, ids: Sequence[str], flow: Flow) -> None:
    """Warn of images left out because their id cannot be a folder name; such an id could lead outside the folder."""
    if ids:
        example = make_printable(ids[0])[:MAX_BYTES]
        logger.warning(
            "%s: %d image(s) left out, whose id cannot be the name of a folder, for example %r: %s",
            place,
            len(ids),
            example,
            find_name_fault(ids[0]),
        )
        flow.excluded["no usable id"] = len(ids)


def _after_outcome(images: pd.DataFrame) -> pd.Series:
    """Flag images taken in or after intensive care, or after death. Offsets count days from the image."""
    in_icu = images["in_icu_at_image"] == 1
    return in_icu | (images["icu_admission_offset"] < 0) | (images["death_offset"] < 0)


def _cxr_case(folder: Path, images: pd.DataFrame) -> Case:
    """Make the case of a person in one country from the first of ``images``, which are in order of time."""
    index = images.iloc[0]
    projection = PROJECTION.match(str(index["view"]))
    series = make_radiograph_series(
        folder / "images" / f"{index['image_id']}.jpg",
        site=index["site"],
        patient=index["person"],
        projection=projection[1] if projection else "",
    )
    return Case(
        case_id=index["image_id"],
        site=index["site"],
        person=index["person"],
        cxr=series if series.usable else None,
        clinical={
            "age_years": age_years(index["age"]),
            "sex": {"M": 1.0, "F": 0.0}.get(index["sex"], math.nan),
        },
        endpoints={name: float(index[name]) for name in ENDPOINT_COLUMNS},
    )


def age_years(stated: object) -> float:
    """Parse an age in years from a number or from words (``50+``, ``early 40s``); NaN if it cannot be parsed."""
    if pd.isna(stated):  # type: ignore[call-overload] # a cell of a table
        return math.nan
    found = re.fullmatch(r"(?:(early|mid|late) )?(\d+(?:\.\d+)?)(?:\+|s)?", str(stated).strip().lower())
    if not found:
        return math.nan
    years = float(found[2]) + PART_OF_DECADE_YEARS.get(found[1] or "", 0)
    return years if years <= MAX_AGE_YEARS else math.nan
