"""What stands in a copy for a UID, a date or a text of the source: always the same under the repository's key."""

import hashlib
import hmac
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from kicc_ml.core.pseudonym import pseudonym, shift_days
from kicc_ml.dicom.header.dates import moment
from kicc_ml.dicom.header.shown_path import shown_path

#: UIDs that the standard itself gives out: SOP classes, transfer syntaxes, coding schemes.
STANDARD_ROOT = "1.2.840.10008."
#: Two four-year cycles more than :func:`shift_days`, so that no moved date of an epidemic is a true one of somebody.
DAYS_FURTHER_BACK = 2 * 1461

TIME = re.compile(r"[\d.:\\ -]*")
DECIMAL = re.compile(r"[\d.+\-eE\\ ]*")
AGE = re.compile(r"\d{3}[DWMY]")
#: What may follow the day in a DT: time of day and the offset of its zone.
REST_OF_DATETIME = re.compile(r"\d{0,6}(\.\d{1,6})?([+-]\d{4})?")


def new_uid(key: bytes, uid: str) -> str:
    """The UID of a copy for one of the source: a name-based UUID under ``2.25`` (PS3.5 B.2); standard ones stay."""
    if not uid or uid.startswith(STANDARD_ROOT):
        return uid
    digest = hmac.new(key, f"uid\x1f{uid}".encode(), hashlib.sha256).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def export_shift(key: bytes, patient: str) -> timedelta:
    """By how much all dates of a patient, given as pseudonym, are moved in what is exported."""
    return timedelta(days=shift_days(key, patient) - DAYS_FURTHER_BACK)


def moved_date(key: bytes, patient: str, day: date) -> date:
    return day + export_shift(key, patient)


@dataclass(frozen=True)
class Replacements:
    """The values of one file in its copy. ``identifying`` has the values of its identifiers by keyword.

    Each method takes one value of an element and gives "" for what is no value of its kind, and may be anything.
    """

    key: bytes
    patient: str
    identifying: Mapping[str, str]

    def uid(self, value: str) -> str:
        return new_uid(self.key, value)

    def date(self, value: str) -> str:
        """A DA or DT, moved; the time of day stays."""
        day, rest = (value, "") if "." in value[:5] else (value[:8], value[8:])  # ACR-NEMA wrote 2020.03.01
        true = moment(day, "")
        if true is None or not REST_OF_DATETIME.fullmatch(rest):
            return ""
        return f"{moved_date(self.key, self.patient, true.date()):%Y%m%d}{rest}"

    def time(self, value: str) -> str:
        return value if TIME.fullmatch(value) else ""

    def decimal(self, value: str) -> str:
        return value if DECIMAL.fullmatch(value) else ""

    def age(self, value: str) -> str:
        return value if AGE.fullmatch(value) else ""

    def text(self, value: str) -> str:
        """As it is; a pseudonym, which tells values apart, where it names the patient or is not plain ASCII."""
        plain = value.isascii() and (value.isprintable() or not value)
        if plain and not shown_path(value, self.identifying, self.key):
            return value
        return pseudonym(self.key, value).upper()

    def agent(self, value: str) -> str:
        """Its pseudonym: free text in which anything may be written, and which only has to differ."""
        return pseudonym(self.key, value).upper() if value else ""
