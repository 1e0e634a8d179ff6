"""The table of the public radiographs (``cxr/metadata.csv``): its columns, its persons, and a case from its rows."""

import logging
import math
import re
from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd

from kicc_ml.cohort.clinical_table import MAX_AGE_YEARS
from kicc_ml.cohort.flow import Flow
from kicc_ml.cohort.persons import link_persons
from kicc_ml.core.errors import UserError
from kicc_ml.core.path_names import MAX_BYTES, find_name_fault
from kicc_ml.core.shown import make_printable
from kicc_ml.core.types import Case
from kicc_ml.dicom.series.image_files import make_radiograph_series

logger = logging.getLogger(__name__)

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


#: "AP Supine" and "AP erect" are read as AP.
PROJECTION = re.compile(r"^(AP|PA)\b")


#: "early 40s" is read as 42, "mid 50s" as 55, "late 60s" as 68, "50+" as 50.
PART_OF_DECADE_YEARS = {"early": 2, "mid": 5, "late": 8}


def read_radiograph_table(path: Path, flow: Flow, columns: Collection[str] = CXR_COLUMNS) -> pd.DataFrame:
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
    warn_of_unusable_ids(path, table.loc[~usable, "image_id"].fillna("").tolist(), flow)
    table = table[usable].reset_index(drop=True)
    traces = table[["person_group", "near_duplicate_group"]].to_dict("index")
    first = link_persons([{item for item in one.items() if not pd.isna(item[1])} for one in traces.values()])
    numbers = {name: pd.to_numeric(table[name], errors="coerce") for name in NUMBERS}
    outcomes = {name: pd.to_numeric(table[column], errors="coerce") for name, column in ENDPOINT_COLUMNS.items()}
    table = table.assign(**numbers, person=table["person_group"].to_numpy()[first])
    # An outcome stated for any image of a person holds for the person; an event outranks "no event".
    return table.assign(**pd.DataFrame(outcomes).groupby(table["person"]).transform("max"))


def warn_of_unusable_ids(place: Path, ids: Sequence[str], flow: Flow) -> None:
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


def find_images_after_outcome(images: pd.DataFrame) -> pd.Series:
    """Flag images taken in or after intensive care, or after death. Offsets count days from the image."""
    in_icu = images["in_icu_at_image"] == 1
    return in_icu | (images["icu_admission_offset"] < 0) | (images["death_offset"] < 0)


def make_radiograph_case(folder: Path, images: pd.DataFrame) -> Case:
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
            "age_years": parse_age_years(index["age"]),
            "sex": {"M": 1.0, "F": 0.0}.get(index["sex"], math.nan),
        },
        endpoints={name: float(index[name]) for name in ENDPOINT_COLUMNS},
    )


def parse_age_years(stated: object) -> float:
    """Parse an age in years from a number or from words (``50+``, ``early 40s``); NaN if it cannot be parsed."""
    if pd.isna(stated):  # type: ignore[call-overload] # a cell of a table
        return math.nan
    found = re.fullmatch(r"(?:(early|mid|late) )?(\d+(?:\.\d+)?)(?:\+|s)?", str(stated).strip().lower())
    if not found:
        return math.nan
    years = float(found[2]) + PART_OF_DECADE_YEARS.get(found[1] or "", 0)
    return years if years <= MAX_AGE_YEARS else math.nan
