"""Replace the values of a source in a copy, always in the same way under the repository's key.

A value is kept only if it follows the grammar of its value representation (PS3.5 6.2).
"""

import hashlib
import hmac
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from pydicom.uid import UID_dictionary

from kicc_ml.core.pseudonym import compute_shift_days, make_pseudonym
from kicc_ml.dicom.deidentify.known_values import is_known
from kicc_ml.dicom.header.dates import parse_date_time
from kicc_ml.dicom.header.shown_path import pseudonymize_path

#: Days added to :func:`compute_shift_days`: two cycles of four years, so that no shifted date falls into the epidemic,
#: where it could be another patient's true date.
DAYS_FURTHER_BACK = 2 * 1461
#: Ages from here on become this age (HIPAA Safe Harbor, 45 CFR 164.514(b)(2)(i)(C)).
MAX_AGE_YEARS = 90
#: Numbers from here on are dropped: images do not need them, and dates (20200301) and telephone numbers are as long.
MAX_WHOLE_NUMBER = 10**7
#: Minimum number of digits of a patient's number that is searched among the numbers of an image.
MIN_REGISTER_DIGITS = 5

DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
MAX_DECIMAL_CHARACTERS = 32  # twice what the standard allows: some exporters print all digits of a double
INTEGER = re.compile(r"[+-]?\d{1,12}")
AGE = re.compile(r"(\d{3})([DWMY])")
CLOCK = r"([01]\d|2[0-3])(?::?([0-5]\d)(?::?([0-5]\d|60)(?:\.\d{1,6})?)?)?"
TIME = re.compile(CLOCK)
DATE = re.compile(r"\d{8}|\d{4}\.\d{2}\.\d{2}")  # ACR-NEMA wrote 2020.03.01
DATETIME = re.compile(rf"(\d{{8}})({CLOCK})?([+-](?:0\d|1[0-4])[0-5]\d)?")
UNITS_PER_YEAR = {"Y": 1, "M": 12, "W": 52, "D": 365}


def make_uid(key: bytes, uid: str) -> str:
    """Make the UID of a copy from that of the source: a name-based UUID under ``2.25`` (PS3.5 B.2).

    UIDs of the standard's dictionary (PS3.6 annex A) stay unchanged.
    """
    if not uid or uid in UID_dictionary:
        return uid
    digest = hmac.new(key, f"uid\x1f{uid}".encode(), hashlib.sha256).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def compute_export_shift(key: bytes, patient: str) -> timedelta:
    """Compute by how much all dates of a patient, given as pseudonym, are shifted in an export."""
    return timedelta(days=compute_shift_days(key, patient) - DAYS_FURTHER_BACK)


def shift_date(key: bytes, patient: str, day: date) -> date:
    """Move a date by the patient's own number of days."""
    return day + compute_export_shift(key, patient)


def compute_seconds_past_hour(clock: str) -> int | None:
    """Compute the seconds past the full hour of a time (TM); None if it is not a time."""
    found = TIME.fullmatch(clock)
    return found and 60 * int(found[2] or 0) + int(found[3] or 0)


@dataclass(frozen=True)
class Replacements:
    """Replaces the values of one file in its copy.

    ``identifying`` holds the values of its identifiers by keyword. ``past_hour_s`` is how many seconds past the hour
    the study began: all its times are shifted by them, so that the study begins at a full hour and intervals stay.
    Without it, each time is cut off to the hour.

    Each method takes one value of an element, and returns "" for an invalid value, which could hold anything.
    """

    key: bytes
    patient: str
    identifying: Mapping[str, str]
    past_hour_s: int | None = None

    def replace(self, action: str, value: str, keyword: str) -> str:
        """Replace one value of an element by the method for an action of :mod:`kicc_ml.dicom.deidentify.profile`."""
        methods: Mapping[str, Callable[[str, str], str]] = {
            "uid": self.replace_uid,
            "date": self.replace_date,
            "datetime": self.replace_datetime,
            "time": self.replace_time,
            "decimal": self.replace_decimal,
            "integer": self.replace_integer,
            "age": self.replace_age,
            "text": self.replace_text,
            "code": self.replace_code,
            "agent": self.replace_agent,
        }
        return methods[action](value, keyword)

    def replace_uid(self, value: str, keyword: str) -> str:
        """Return the pseudonym of a UID; equal UIDs have equal pseudonyms."""
        return make_uid(self.key, value)

    def replace_date(self, value: str, keyword: str) -> str:
        """Shift a date (DA)."""
        true = parse_date_time(value, "") if DATE.fullmatch(value) else None
        return f"{shift_date(self.key, self.patient, true.date()):%Y%m%d}" if true else ""

    def replace_datetime(self, value: str, keyword: str) -> str:
        """Shift the day and coarsen the time of a DT; the time zone stays."""
        found = DATETIME.fullmatch(value)
        day = self.replace_date(found[1], keyword) if found else ""
        return f"{day}{self.replace_time(found[2] or '', keyword)}{found[6] or ''}" if found and day else ""

    def replace_time(self, value: str, keyword: str) -> str:
        """Shift a time (TM) back by the seconds that the study began past the hour, but not to the day before."""
        found = TIME.fullmatch(value)
        if not found:
            return ""
        hour, minute, second = (int(part or 0) for part in found.groups())
        if self.past_hour_s is None or not found[2]:
            return f"{hour:02d}0000"
        seconds = max(3600 * hour + 60 * minute + second - self.past_hour_s, 0)
        return f"{seconds // 3600:02d}{seconds // 60 % 60:02d}{seconds % 60:02d}"

    def replace_decimal(self, value: str, keyword: str) -> str:
        """Keep a decimal number (DS) that cannot be a number of the patient."""
        if not DECIMAL.fullmatch(value) or len(value) > MAX_DECIMAL_CHARACTERS:
            return ""
        number = float(value)
        return "" if abs(number) >= MAX_WHOLE_NUMBER or self._is_register(value) else value

    def replace_integer(self, value: str, keyword: str) -> str:
        """Keep an integer (IS) that cannot be a number of the patient."""
        if not INTEGER.fullmatch(value) or abs(int(value)) >= MAX_WHOLE_NUMBER:
            return ""
        return "" if self._is_register(value) else value

    def _is_register(self, value: str) -> bool:
        """Whether a number is one of the patient's numbers in the file, with or without leading zeros."""
        digits = value.lstrip("+-").partition(".")[0].lstrip("0")
        return len(digits) >= MIN_REGISTER_DIGITS and any(
            digits == run.lstrip("0") for text in self.identifying.values() for run in re.findall(r"\d+", text)
        )

    def replace_age(self, value: str, keyword: str) -> str:
        """Keep an age (AS); ages from :data:`MAX_AGE_YEARS` on become that age."""
        found = AGE.fullmatch(value)
        if not found:
            return ""
        years = int(found[1]) / UNITS_PER_YEAR[found[2]]
        return f"{MAX_AGE_YEARS:03d}Y" if years >= MAX_AGE_YEARS else value

    def replace_text(self, value: str, keyword: str) -> str:
        """Keep a text that is known to name a device; replace another by a pseudonym, which keeps texts distinct."""
        known = is_known(keyword, value) and not pseudonymize_path(value, self.identifying, self.key)
        return value if known or not value else make_pseudonym(self.key, value).upper()

    def replace_code(self, value: str, keyword: str) -> str:
        """Keep a code string (CS) that is a known term and not part of the patient's name."""
        known = is_known(keyword, value) and not pseudonymize_path(value, self.identifying, self.key)
        return value if known else ""

    def replace_agent(self, value: str, keyword: str) -> str:
        """Replace a contrast agent, which is free text, by a pseudonym: only whether agents differ is needed."""
        return make_pseudonym(self.key, value).upper() if value else ""
