"""The list of studies, and its rows as JSON, which a browser asks for every few seconds."""

from dataclasses import dataclass

from starlette.responses import JSONResponse, Response

from kicc_ml.service.audit import Event
from kicc_ml.service.queue import STATES
from kicc_ml.service.web.access import Access, Asked
from kicc_ml.service.web.rows import Worklist

MAX_SEARCH_CHARACTERS = 100
MAX_FIRST_DIGITS = 9
#: Words that the script shows, by the names that it knows them by.
SCRIPT_WORDS = {
    **{f"state_{state}": f"state_{state}" for state in STATES},
    **{
        name: name
        for name in ("all_states", "study", "prior", "details", "no_rows", "earlier", "later", "offline", "updated")
    },
    **{name: name for name in ("flag_domain_outside", "flag_uncertainty_unusual", "undelivered", "Name", "ID")},
    "Study date": "study_date",
}


@dataclass(frozen=True)
class ListPage:
    """The list of studies."""

    access: Access
    worklist: Worklist

    def show(self, asked: Asked) -> Response:
        """Show the list; its rows are filled in by the script."""
        self._note(asked, "")
        return self.access.pages.render(
            asked.request,
            "worklist.html.j2",
            user=asked.user,
            identified=self.worklist.identified,
            form_token=self.access.make_form_token(asked.request),
            words=self.access.pages.translate(asked.request, SCRIPT_WORDS),
        )

    def send_rows(self, asked: Asked) -> Response:
        """Send the rows that are searched for; a search is noted, the same list again is not."""
        parameters = asked.request.query_params
        text, state = parameters.get("q", "")[:MAX_SEARCH_CHARACTERS], parameters.get("state", "")
        if asked.user.role == "program" or (text and not self.access.sessions.is_noted(asked.session, text)):
            self._note(asked, text)
        self.access.sessions.keep_noted(asked.session, text)
        return JSONResponse(self.worklist.search(text, state, _read_first(parameters.get("first", ""))))

    def _note(self, asked: Asked, text: str) -> None:
        query = f"worklist {text}".strip()
        self.access.audit.note(Event("110112", "E", query=query), asked.user.name, asked.address, asked.user.role)


def _read_first(text: str) -> int:
    """Read where a page of the list begins; what is no such number is the begin of the list."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MAX_FIRST_DIGITS else 0
