"""Studies of a chest of boxes, as a scanner sends them, and a network that knows their grey values."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pydicom

from kicc_ml.clinic.loaded_runs import LoadedRuns
from kicc_ml.clinic.outputs import ModelProvenance, OofCases
from kicc_ml.service.intake import Folders
from kicc_ml.service.predict_study import StudyPredictor
from tests.support.grey_value_network import LEFT, LESION, RIGHT, SOFT, segmenter
from tests.support.plain_slices import slice_dataset

SLICES, SLICE_MM, PIXEL_MM = 20, 12.0, 6.0
#: Rows and columns of a slice, 240 mm by 300 mm; the patient's right is on the left.
ROWS, COLUMNS = 40, 50
RAMP = np.tile(np.arange(COLUMNS, dtype=np.uint16) * 40, (ROWS, 1))


def make_chest(study: str, slices: range = range(SLICES), lungs: bool = True, **tags: object) -> list[pydicom.Dataset]:
    """Slices of a CT: two lungs with a lesion in the left one, or a body without any."""
    return [_make_slice(study, number, lungs, **tags) for number in slices]


def _make_slice(study: str, number: int, lungs: bool, **tags: object) -> pydicom.Dataset:
    hu = np.full((ROWS, COLUMNS), -1000)
    hu[4:-4, 3:-3] = SOFT
    if lungs and 2 <= number < SLICES - 2:
        hu[10:30, 8:22], hu[10:30, 28:42] = RIGHT, LEFT
        if 5 <= number < 9:
            hu[18:26, 30:36] = LESION
    elif not lungs:
        hu[12:16, 12:16] = -900  # gas in the bowel
    values = {
        **{"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.1", "SOPInstanceUID": f"{study}.1.{number + 1}"},
        **{"ImagePositionPatient": [0, 0, number * SLICE_MM], "PixelSpacing": [PIXEL_MM, PIXEL_MM]},
        **{"SliceThickness": SLICE_MM, "InstanceNumber": number + 1, "FrameOfReferenceUID": f"{study}.9"},
        **{"PatientName": "Kim^Hana", "StudyTime": "101500", "AcquisitionDate": "20200301"},
        **{"AcquisitionTime": "101500", "ContentDate": "20200301", "ContentTime": "101500"},
    }
    return slice_dataset((hu + 1024).astype(np.uint16), **{**values, **tags})


def make_radiograph(study: str, stored: np.ndarray = RAMP, **tags: object) -> pydicom.Dataset:
    """A radiograph of these stored values, rows and columns."""
    cr = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1",
        "Modality": "CR",
        "ViewPosition": "PA",
        "BodyPartExamined": "CHEST",
    }
    nothing = dict.fromkeys(("RescaleSlope", "RescaleIntercept", "ImagePositionPatient", "ImageOrientationPatient"))
    uids = {"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.2", "SOPInstanceUID": f"{study}.2.1"}
    return slice_dataset(stored, **{**cr, **nothing, **uids, "ImageType": ["ORIGINAL", "PRIMARY"], **tags})


@dataclass(frozen=True)
class GreyValuePredictor:
    """Makes what predicts CTs by their grey values, in the process of a worker."""

    folders: Folders

    def __call__(self) -> StudyPredictor:
        model = ModelProvenance("ab" * 32, {"model": "by grey value"})
        return StudyPredictor({"CT": LoadedRuns(segmenter(), OofCases(pd.DataFrame()), model)}, self.folders)
