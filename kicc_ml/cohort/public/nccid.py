"""NCCID, the National COVID-19 Chest Imaging Database of the United Kingdom: JSON of each patient, radiographs and CT.

Source:
    Cushnan D et al., GigaScience 2021;10:giab076; by application to NHSX.
"""

from collections import defaultdict
from pathlib import Path

import pandas as pd

from kicc_ml.cohort.flow import Cohort, Flow
from kicc_ml.cohort.index_image import IndexRule
from kicc_ml.cohort.public.dicom_tree import add_index_images
from kicc_ml.cohort.public.nysbu import us_day
from kicc_ml.cohort.public.published import (
    SEX,
    YES_NO,
    Coded,
    Measured,
    convert_columns,
    convert_to_rows,
    drop_unusable_ids,
    find_set_folder,
    rename_columns,
)
from kicc_ml.core.errors import UserError
from kicc_ml.core.received import read_json_object
from kicc_ml.core.types import Case, Series
from kicc_ml.dicom.index.build import read_index

FOLDER = "nccid"
IMAGES = ("ct", "xray", "mri")

#: Columns of admission. Not used: the severity score of a radiograph, because its day is not stated.
COLUMNS: dict[str, Measured | Coded] = {
    "Age": Measured("age_years", 0, 120),
    "Sex": Coded("sex", {**SEX, "1": 1.0, "0": 0.0}),
    "CRP on admission": Measured("crp_mg_l", 0.1, 700),
    "Lymphocyte count on admission": Measured("lymphocyte_1e9_l", 0, 100),
    "Platelet count on admission": Measured("platelet_1e9_l", 1, 2000),
    "O2 saturation": Measured("spo2_percent", 30, 100),
    "FiO2": Measured("fio2_percent", 15, 100),
}
ENDPOINTS: dict[str, Measured | Coded] = {
    "Intubation": Coded("ventilation", YES_NO),
    "ITU admission": Coded("icu", YES_NO),
    "Death": Coded("death", YES_NO),
}
DAYS = {"Date of ITU admission": "icu_date", "Date of death": "death_date", "Date of admission": "admission_date"}


def nccid(root: str | Path | None) -> Cohort:
    """Read NCCID patients with confirmed COVID-19. Their centre is the site.

    The endpoints are ``ventilation``, ``icu`` and ``death``. Each patient's latest ``data_*.json`` is read; a patient
    with only ``status_*.json`` tested negative and is left out. An image from after the day of an endpoint is not used.

    Args:
        root: the folder that contains ``data``, ``ct`` and ``xray``, or one that contains it as ``training`` or
            ``nccid``.

    Raises:
        UserError: there is no such folder, or no patient in it.
    """
    folder, flow = (
        find_set_folder(find_set_folder(root, FOLDER), "training"),
        Flow(unit="patients with a folder of data"),
    )
    if not (folder / "data").is_dir():
        raise UserError(f"{folder} holds no folder data with one folder of JSON per patient; give that of NCCID")
    rows = _positive(folder / "data", flow)
    rows = drop_unusable_ids(drop_unusable_ids(rows, "PID", flow), "SubmittingCentre", flow)
    days = pd.DataFrame({ours: rows.get(name, pd.Series(index=rows.index)).map(us_day) for name, ours in DAYS.items()})
    outcomes = convert_columns(rows, ENDPOINTS, folder / "data", flow).reindex(columns=["ventilation", "icu", "death"])
    values = convert_columns(rows, COLUMNS, folder / "data", flow)
    images = _images(folder, set(rows["PID"]))
    of_patient = zip(
        rows["PID"],
        rows["SubmittingCentre"],
        convert_to_rows(values),
        convert_to_rows(outcomes),
        days.to_dict("records"),
        strict=True,
    )
    cases = []
    for patient, site, clinical, endpoints, known in of_patient:
        case = Case(patient, site, patient, clinical=clinical, endpoints=endpoints, admitted=known["admission_date"])
        seen = endpoints | {str(name): day for name, day in known.items()}
        cases.append(add_index_images(case, images.get(patient, []), seen, IndexRule(), flow))
    flow.cases = len(cases)
    flow.log()
    return Cohort(cases, flow)


def _positive(folder: Path, flow: Flow) -> pd.DataFrame:
    """Read one row per patient with confirmed COVID-19: the columns of the latest file and ``PID``."""
    found = []
    for place in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        flow.rows += 1
        if data := sorted(place.glob("data_*.json")):
            content = read_json_object(data[-1], "fetch it again, or leave the folder of this patient out")
            cells = {str(name): _text(value) for name, value in content.items()}
            found.append({**cells, "PID": place.name})
        else:
            flow.excluded["COVID-19 not confirmed"] += 1
    if not found:
        raise UserError(f"{folder} holds no data_YYYY-MM-DD.json of any patient")
    wanted = ["PID", "SubmittingCentre", *COLUMNS, *ENDPOINTS, *DAYS]
    return rename_columns(pd.DataFrame(found), folder, wanted, ["PID", "SubmittingCentre", "Age"])


def _text(value: object) -> str | None:
    """Convert a JSON value to the text of a cell; None if it is empty or not a plain value."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, int | float):
        return f"{value:g}"
    return value.strip() or None if isinstance(value, str) else None


def _images(folder: Path, patients: set[str]) -> dict[str, list[Series]]:
    """Find the usable series of each patient, by the folder ``<PID>`` in their path."""
    found: dict[str, list[Series]] = defaultdict(list)
    places = [folder / kind for kind in IMAGES if (folder / kind).is_dir() and any((folder / kind).iterdir())]
    for index in read_index(places, cached=True) if places else ():
        for one in index.series:
            owner = next((part for part in one.files[0].parts[::-1] if part in patients), None)
            if owner and one.usable:
                found[owner].append(one)
    return found
