"""Clinical tables of patients to predict, in the layouts of public sets; columns identify the layout."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kicc_ml.cohort.columns_file import find_columns_file
from kicc_ml.cohort.flow import Flow
from kicc_ml.cohort.public import aiforcovid, nysbu
from kicc_ml.cohort.public.published import normalize_column_name
from kicc_ml.cohort.table_file import read_cells
from kicc_ml.core.types import Case


@dataclass(frozen=True)
class Layout:
    """A layout of a public table.

    Attributes:
        columns: the column names that identify the layout.
        spell: the function that renames the columns to our spelling.
        patients: the function that makes cases from the renamed table.
    """

    columns: Sequence[str]
    spell: Callable[[pd.DataFrame, Path], pd.DataFrame]
    patients: Callable[[pd.DataFrame, Path, Flow], list[Case]]


LAYOUTS = (
    Layout(("ImageFile", "Hospital"), aiforcovid.select_set_columns, aiforcovid.make_patients),
    Layout(("to_patient_id", "age.splits"), nysbu.select_set_columns, nysbu.make_patients),
)


def published_patients(path: Path) -> list[Case] | None:
    """Read patients from a table in the layout of AIforCOVID or COVID-19-NY-SBU.

    Ids, features and units are those of ``cohort=aiforcovid`` and ``cohort=nysbu``.

    Returns:
        The patients without images; None if the table has another layout or a ``columns.yaml`` describes it.

    Raises:
        TableError: the file is not a table.
        UserError: a column holds no known value.
    """
    if find_columns_file(path):
        return None
    cells = read_cells(path)
    names = {normalize_column_name(str(column)) for column in cells}
    for layout in LAYOUTS:
        if {normalize_column_name(column) for column in layout.columns} <= names:
            flow = Flow()
            patients = layout.patients(layout.spell(cells, path), path, flow)
            flow.log()
            return patients
    return None
