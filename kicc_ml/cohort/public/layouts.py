"""Clinical tables as public sets are published, told by their columns: for patients to predict."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kicc_ml.cohort.columns_file import columns_file
from kicc_ml.cohort.flow import Flow
from kicc_ml.cohort.public import aiforcovid, nysbu
from kicc_ml.cohort.public.published import loose
from kicc_ml.cohort.table_file import read_cells
from kicc_ml.core.types import Case


@dataclass(frozen=True)
class Layout:
    """How a table of a public set becomes patients, and the columns by which it is told."""

    columns: Sequence[str]
    spell: Callable[[pd.DataFrame, Path], pd.DataFrame]
    patients: Callable[[pd.DataFrame, Path, Flow], list[Case]]


LAYOUTS = (
    Layout(("ImageFile", "Hospital"), aiforcovid.spelt_as_here, aiforcovid.patients_of),
    Layout(("to_patient_id", "age.splits"), nysbu.spelt_as_here, nysbu.patients_of),
)


def published_patients(path: Path) -> list[Case] | None:
    """Patients of a table as AIforCOVID or COVID-19-NY-SBU publish theirs; None for any other table.

    They are those of ``cohort=aiforcovid`` and ``cohort=nysbu``: the same ids, features and units.

    Raises:
        TableError: the file is no table.
        UserError: a column holds what it cannot.
    """
    if columns_file(path):
        return None
    cells = read_cells(path)
    names = {loose(str(column)) for column in cells}
    for layout in LAYOUTS:
        if {loose(column) for column in layout.columns} <= names:
            flow = Flow()
            patients = layout.patients(layout.spell(cells, path), path, flow)
            flow.log()
            return patients
    return None
