"""Choice of the endpoints that a model learns from a cohort."""

from collections.abc import Sequence

from kicc_ml.core.errors import UserError
from kicc_ml.core.help_pages import CLINICAL_TABLE
from kicc_ml.core.types import ENDPOINTS, FURTHER_ENDPOINTS, Case


def endpoints_of(cases: Sequence[Case], named: Sequence[str] | None) -> tuple[str, ...]:
    """Select the endpoints of a cohort: all of them, or those that are ``named``.

    Of the common endpoints (``ENDPOINTS``, ``FURTHER_ENDPOINTS``), a named one that the cohort lacks is left out.
    Raises UserError if the cohort lacks all named endpoints, or one that is not common.
    """
    met = dict.fromkeys(name for case in cases for name in case.endpoints)
    found = [*(name for name in ENDPOINTS if name in met), *(name for name in met if name not in ENDPOINTS)]
    if named is None or not cases:
        return tuple(found if named is None else named)
    taken = tuple(name for name in named if name in met)
    strange = [name for name in named if name not in (*met, *ENDPOINTS, *FURTHER_ENDPOINTS)]
    if strange or (met and not taken):
        lacking = ", ".join(strange or named)
        raise UserError(
            f"data.endpoints: the cohort has no endpoint {lacking}; it has {', '.join(found)}", page=CLINICAL_TABLE
        )
    return taken or tuple(named)
