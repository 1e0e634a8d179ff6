"""Find the time when an image was taken from the dates and times of its header."""

from collections.abc import Callable
from datetime import datetime

#: Keywords of date and time, the closest to the exposure first; the study may have begun hours before.
DATE_AND_TIME_KEYWORDS = (
    ("AcquisitionDateTime", ""),
    ("AcquisitionDate", "AcquisitionTime"),
    ("ContentDate", "ContentTime"),
    ("SeriesDate", "SeriesTime"),
    ("StudyDate", "StudyTime"),
)
#: Before the first X-ray image a date is a filler ("00010101"), as some software writes for an unknown one.
FIRST_DAY = 1895_11_08


def find_acquisition_time(text: Callable[[str], str]) -> datetime | None:
    """Find the first readable date of :data:`DATE_AND_TIME_KEYWORDS`; None if there is none.

    Args:
        text: gives the text of a keyword, "" if it is absent.

    Returns:
        date and time; midnight if the time cannot be read.
    """
    for date_name, time_name in DATE_AND_TIME_KEYWORDS:
        day = text(date_name)
        if found := parse_date_time(day, text(time_name) if time_name else day.replace(".", "")[8:]):
            return found
    return None


def parse_date_time(day: str, clock: str) -> datetime | None:
    """Parse a date (DA) and a time (TM); midnight if the time cannot be read, None if the date cannot be read."""
    digits = day.replace(".", "")[:8]  # ACR-NEMA wrote 2020.03.01
    time = clock.replace(":", "")[:6].ljust(6, "0")  # TM may stop at the hour or the minute
    if len(digits) != 8 or not digits.isdecimal() or int(digits) < FIRST_DAY:
        return None
    try:
        date = datetime(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None
    try:
        return date.replace(hour=int(time[:2]), minute=int(time[2:4]), second=int(time[4:]))
    except ValueError:
        return date
