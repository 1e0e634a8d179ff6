"""What stands in a copy for a value of the source: always the same under the repository's key.

A value is kept only where it is one by the grammar of its value representation (PS3.5 6.2).
"""

import hashlib
import hmac
import re
import uuid
from collections.abc import Mapping
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
#: From here on ages are one class (HIPAA Safe Harbor, 45 CFR 164.514(b)(2)(i)(C)).
MAX_AGE_YEARS = 90
#: Whole numbers from here on count nothing in an image; days (20200301), telephones and registers have as many digits.
MAX_WHOLE_NUMBER = 10**7
#: As many digits of a number of the patient's are looked for among the numbers of an image.
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
    """The UID of a copy for one of the source: a name-based UUID under ``2.25`` (PS3.5 B.2).

    UIDs of the standard's own dictionary (PS3.6 annex A) stay; others under its root are somebody's.
    """
    if not uid or uid in UID_dictionary:
        return uid
    digest = hmac.new(key, f"uid\x1f{uid}".encode(), hashlib.sha256).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def compute_export_shift(key: bytes, patient: str) -> timedelta:
    """By how much all dates of a patient, given as pseudonym, are moved in what is exported."""
    return timedelta(days=compute_shift_days(key, patient) - DAYS_FURTHER_BACK)


def shift_date(key: bytes, patient: str, day: date) -> date:
    return day + compute_export_shift(key, patient)


def compute_seconds_past_hour(clock: str) -> int | None:
    """Of a time of day (TM); None for what is none."""
    found = TIME.fullmatch(clock)
    return found and 60 * int(found[2] or 0) + int(found[3] or 0)


@dataclass(frozen=True)
class Replacements:
    """The values of one file in its copy.

    ``identifying`` has the values of its identifiers by keyword. ``past_hour_s`` says at how many seconds past the hour
    the study began: all its times are moved by them, so that it begins at a full hour and what lies between two times
    stays. Without it each time is cut off to the hour.

    Each method takes one value of an element and gives "" for what is no value of its kind, and may be anything.
    """

    key: bytes
    patient: str
    identifying: Mapping[str, str]
    past_hour_s: int | None = None

    def uid(self, value: str, keyword: str) -> str:
        return make_uid(self.key, value)

    def date(self, value: str, keyword: str) -> str:
        """A DA, moved."""
        true = parse_date_time(value, "") if DATE.fullmatch(value) else None
        return f"{shift_date(self.key, self.patient, true.date()):%Y%m%d}" if true else ""

    def datetime(self, value: str, keyword: str) -> str:
        """A DT, its day moved and its time of day coarsened; the zone stays."""
        found = DATETIME.fullmatch(value)
        day = self.date(found[1], keyword) if found else ""
        return f"{day}{self.time(found[2] or '', keyword)}{found[6] or ''}" if found and day else ""

    def time(self, value: str, keyword: str) -> str:
        """A TM to the second, as many seconds earlier as the study began past the hour; never on the day before."""
        found = TIME.fullmatch(value)
        if not found:
            return ""
        hour, minute, second = (int(part or 0) for part in found.groups())
        if self.past_hour_s is None or not found[2]:
            return f"{hour:02d}0000"
        seconds = max(3600 * hour + 60 * minute + second - self.past_hour_s, 0)
        return f"{seconds // 3600:02d}{seconds // 60 % 60:02d}{seconds % 60:02d}"

    def decimal(self, value: str, keyword: str) -> str:
        """A DS."""
        if not DECIMAL.fullmatch(value) or len(value) > MAX_DECIMAL_CHARACTERS:
            return ""
        number = float(value)
        return "" if abs(number) >= MAX_WHOLE_NUMBER or self._is_register(value) else value

    def integer(self, value: str, keyword: str) -> str:
        """An IS."""
        if not INTEGER.fullmatch(value) or abs(int(value)) >= MAX_WHOLE_NUMBER:
            return ""
        return "" if self._is_register(value) else value

    def _is_register(self, value: str) -> bool:
        """Whether it is a number that the file gives to the patient, with or without zeros before it."""
        digits = value.lstrip("+-").partition(".")[0].lstrip("0")
        return len(digits) >= MIN_REGISTER_DIGITS and any(
            digits == run.lstrip("0") for text in self.identifying.values() for run in re.findall(r"\d+", text)
        )

    def age(self, value: str, keyword: str) -> str:
        """An AS; the oldest are one class."""
        found = AGE.fullmatch(value)
        if not found:
            return ""
        years = int(found[1]) / UNITS_PER_YEAR[found[2]]
        return f"{MAX_AGE_YEARS:03d}Y" if years >= MAX_AGE_YEARS else value

    def text(self, value: str, keyword: str) -> str:
        """As it is where it is known to name a device; else a pseudonym, which tells values apart."""
        known = is_known(keyword, value) and not pseudonymize_path(value, self.identifying, self.key)
        return value if known or not value else make_pseudonym(self.key, value).upper()

    def code(self, value: str, keyword: str) -> str:
        """A CS as it is where it is a known term, and no part of the patient's name."""
        known = is_known(keyword, value) and not pseudonymize_path(value, self.identifying, self.key)
        return value if known else ""

    def agent(self, value: str, keyword: str) -> str:
        """Its pseudonym: free text in which anything may be written, and which only has to differ."""
        return make_pseudonym(self.key, value).upper() if value else ""
