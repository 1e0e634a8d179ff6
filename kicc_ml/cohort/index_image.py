"""Choice of the index image: the image of a patient from which an outcome is predicted.

The index image is the first usable image (or, on request, the latest) in a window around admission. It must not be
later than the day of any guarded endpoint, because tables state days, not minutes. Without an admission date any usable
image is allowed. Among several CT series of the chosen study, :mod:`kicc_ml.cohort.ct_ranking` chooses one and the
others are logged with the reason; among radiographs of the same moment PA precedes AP. If serial images are pooled, the
other images in the window are used in addition.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal, get_args

from kicc_ml.cohort.ct_ranking import CRITERIA, explain_ranking, rank_ct
from kicc_ml.core.errors import UserError
from kicc_ml.core.types import ENDPOINTS, Series

logger = logging.getLogger(__name__)

Serial = Literal["first", "latest", "pooled"]

#: Days from admission. A setting, not a published figure: an image may precede admission by a day, and over
#: about a week COVID-19 pneumonia progresses most.
WINDOW_DAYS = (-1, 7)
#: Why an image may not be used, where its day and the dates of the table do not fit.
NO_DAY = "without a date of acquisition, which the table's dates need"
OUTSIDE_WINDOW = "outside the window around admission"
#: Between radiographs of one moment: PA shows the heart in its true size, AP is taken of who cannot stand.
PROJECTIONS_PREFERRED = ("PA", "AP", "")


@dataclass(frozen=True)
class IndexRule:
    """The rule that chooses the index image.

    Attributes:
        ct_window_days, cxr_window_days: the first and last allowed day from admission; None allows any day.
        guard_endpoints: an image or a dated value later than the day of one of these endpoints is not used. Empty for a
            task that predicts no outcome, such as segmentation.
        ct_ranking: the criteria that choose one of several CT series of a study, the most important first
            (:mod:`kicc_ml.cohort.ct_ranking`).
        serial: which of a patient's images in the window is chosen: "first", or "latest" before an endpoint; with
            "pooled", outcome models learn from the first and predict from all.
        own_endpoints: additional guarded endpoints, under the table's own names.
    """

    ct_window_days: Sequence[int] | None = WINDOW_DAYS
    cxr_window_days: Sequence[int] | None = WINDOW_DAYS
    guard_endpoints: Collection[str] = ENDPOINTS
    ct_ranking: Sequence[str] = tuple(CRITERIA)
    serial: Serial = "first"
    own_endpoints: Collection[str] = ()  # that guard too, by the names that a consortium gives them

    def __post_init__(self) -> None:
        for days in (self.ct_window_days, self.cxr_window_days):
            if days is not None and (len(days) != 2 or days[0] > days[1]):
                raise UserError(f"window {list(days)}: give [first, last] day from admission, or null")
        if unknown := sorted(set(self.guard_endpoints) - set(ENDPOINTS)):
            raise UserError(f"guard_endpoints {', '.join(unknown)} unknown; there are {', '.join(ENDPOINTS)}")
        if self.serial not in get_args(Serial):
            raise UserError(f"serial={self.serial} is unknown; of serial images choose {' or '.join(get_args(Serial))}")
        rank_ct([], self.ct_ranking)

    @property
    def guards(self) -> Sequence[str]:
        """All endpoints that an image or a dated value must not be later than."""
        return (*self.guard_endpoints, *self.own_endpoints)

    def window_days(self, modality: str) -> Sequence[int] | None:
        """Return the window of ``CT`` or ``CXR`` in days from admission; None allows any day."""
        return self.ct_window_days if modality == "CT" else self.cxr_window_days


def index_image(
    modality: str, images: Sequence[Series], row: Mapping, rule: IndexRule
) -> tuple[Series | None, Counter[str]]:
    """Choose the image of ``modality`` to predict from.

    Args:
        modality: ``CT`` or ``CXR``.
        images: the usable series of one patient.
        row: the patient's row: ``admission_date``, endpoints and their dates, as far as known.
        rule: the rule of choice.

    Returns:
        The index image, or None; and the number of images that may not be used, by reason.
    """
    candidates, obstacles = _usable(modality, images, row, rule)
    if not candidates:
        return None, obstacles
    study = _study(candidates, rule.serial)
    of_study = [image for image in candidates if image.study == study]
    if rule.serial == "latest" and modality == "CXR":
        of_study = [image for image in of_study if _latest(image) == max(map(_latest, of_study))]
    return _taken(modality, of_study, rule), obstacles


def further_images(modality: str, images: Sequence[Series], row: Mapping, rule: IndexRule) -> tuple[Series, ...]:
    """List the images used in addition to the index image if serial images are pooled, in order of time.

    For CT it is one series of each other study, for radiographs one of each other moment.

    Args:
        modality: ``CT`` or ``CXR``.
        images: all series of the patient.
        row: the patient's row of the clinical table.
        rule: the rule that chooses the index image.
    """
    if rule.serial != "pooled":
        return ()
    candidates, _ = _usable(modality, images, row, rule)
    index, _ = index_image(modality, images, row, rule)
    together = defaultdict(list)
    for image in sorted(candidates, key=lambda image: (image.acquired or datetime.max, image.uid)):
        together[image.study if modality == "CT" else str(image.acquired)].append(image)
    taken = [_taken(modality, those, rule) for those in together.values()]
    return tuple(image for image in taken if image != index)


def _usable(
    modality: str, images: Sequence[Series], row: Mapping, rule: IndexRule
) -> tuple[list[Series], Counter[str]]:
    """Select the images that may be used; also return the number of the other images, by reason."""
    last_day = last_guarded_day(row, rule.guards)
    obstacles, candidates = Counter[str](), []
    for image in images:
        if image.modality != modality:
            continue
        window_days = rule.window_days(modality)
        if obstacle := _obstacle(image.acquired, row.get("admission_date"), last_day, window_days):
            obstacles[f"{modality} series not used: {obstacle}"] += 1
        else:
            candidates.append(image)
    return candidates, obstacles


def _taken(modality: str, images: Sequence[Series], rule: IndexRule) -> Series:
    return _ct_of_study(images, rule.ct_ranking) if modality == "CT" else min(images, key=_moment_and_projection)


def _study(images: Sequence[Series], serial: Serial) -> str:
    """Choose the study; a study without a time is chosen only if no study has one."""
    if serial == "latest":
        return max(images, key=lambda image: (_latest(image), image.study)).study
    return min(images, key=lambda image: (image.acquired or datetime.max, image.study)).study


def _latest(image: Series) -> datetime:
    return image.acquired or datetime.min


def last_guarded_day(row: Mapping, endpoints: Collection[str]) -> date | None:
    """Find the day of the first guarded endpoint that happened, or may have: unknown, but with a date."""
    days = [row.get(f"{name}_date") for name in endpoints if row.get(name) != 0]
    return min((day for day in days if day is not None), default=None)


def _obstacle(
    acquired: datetime | None, admitted: date | None, last_day: date | None, window_days: Sequence[int] | None
) -> str:
    """Explain why an image of that time may not be the index image; "" if it may."""
    window = window_days if admitted else None
    if acquired is None:
        return NO_DAY if window or last_day else ""
    if last_day and acquired.date() > last_day:
        return "taken after an endpoint"
    if admitted and window:
        first, last = (admitted + timedelta(days=day) for day in window)
        return "" if first <= acquired.date() <= last else OUTSIDE_WINDOW
    return ""


def explain_date_mismatch(left_out: Mapping[str, int]) -> str:
    """Explain in words, with a remedy, why images do not fit the dates; ``left_out`` counts the images by reason."""
    counts = "; ".join(f"{why}: {count}" for why, count in sorted(left_out.items()))
    return (
        f"the days of images and the dates of the table do not fit ({counts}); an anonymiser may have removed or "
        "shifted the days of the images: shift both alike, or leave admission_date and the dates of endpoints empty"
    )


def _ct_of_study(images: Sequence[Series], criteria: Sequence[str]) -> Series:
    taken, *others = rank_ct(images, criteria)
    for other in others:
        why = explain_ranking(taken, other, criteria)
        logger.info("study %s: series %s passed over for %s: %s", taken.study, other.uid, taken.uid, why)
    return taken


def _moment_and_projection(image: Series) -> tuple:
    """Make the sort key that puts the radiograph to choose first; the uid breaks a tie."""
    return (image.acquired or datetime.max, PROJECTIONS_PREFERRED.index(image.projection), image.uid)
