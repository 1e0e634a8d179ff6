"""When an image was taken, from dates and times as DICOM prints them."""

from collections.abc import Callable
from datetime import datetime

#: From the moment of the exposure outwards; the study may have begun hours before.
SOURCES = (
    ("AcquisitionDateTime", ""),
    ("AcquisitionDate", "AcquisitionTime"),
    ("ContentDate", "ContentTime"),
    ("SeriesDate", "SeriesTime"),
    ("StudyDate", "StudyTime"),
)


def acquired_at(text: Callable[[str], str]) -> datetime | None:
    """The first date of :data:`SOURCES` that can be read, midnight where its time cannot; else None."""
    for date_name, time_name in SOURCES:
        digits = text(date_name).replace(".", "")  # ACR-NEMA wrote 2020.03.01
        clock = text(time_name).replace(":", "") if time_name else digits[8:]
        for stamp, form in ((digits[:8] + clock[:6], "%Y%m%d%H%M%S"), (digits[:8], "%Y%m%d")):
            try:
                return datetime.strptime(stamp, form)
            except ValueError:
                continue
    return None
