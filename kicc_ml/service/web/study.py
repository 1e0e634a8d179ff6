"""A study: what became of it, the page of each of its results, and what an operator may do with it."""

import os
import re
from dataclasses import dataclass

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from kicc_ml.clinic.outputs import PAGE
from kicc_ml.service.audit import REFUSED, SUCCESS, Event
from kicc_ml.service.intake import Folders
from kicc_ml.service.queue import CaseResult, State
from kicc_ml.service.web.access import Access, Asked
from kicc_ml.service.web.fhir import make_bundle
from kicc_ml.service.web.pages import find_way_up, make_hash
from kicc_ml.service.web.removal import remove_study
from kicc_ml.service.web.rows import Worklist, list_results
from kicc_ml.service.web.words import FLAGS
from kicc_ml.service.worklist import StudyEntry, read_studies

ACCESSED, DELETED, EXPORTED = "110103", "110105", "110106"
#: States in which the data of a study can be deleted, since nobody works on it.
AT_REST: tuple[State, ...] = ("waiting", "delivering", "done", "refused", "failed")
SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
BODY = "<body>\n"
BAR = Markup(
    '<nav data-language="{language}" style="font: 15px system-ui, sans-serif; margin-bottom: .7rem">'
    '<a href="{up}" style="color: #0b5a94">← {to_list}</a> &nbsp; <a href="{up}studies/{study}" style="color: #0b5a94">'
    '{details}</a></nav>\n<script src="{up}result.js" defer></script>\n'
)


@dataclass(frozen=True)
class StudyPages:
    """The pages of each study. Its number is all of an address that leads to a file; case ids are the database's."""

    access: Access
    worklist: Worklist
    folders: Folders

    def show(self, asked: Asked) -> Response:
        """Show what became of a study."""
        entry = self._find(asked)
        self._note(asked, ACCESSED, "R", entry)
        return self.access.pages.render(
            asked.request,
            "study.html.j2",
            entry=entry,
            row=self.worklist.make_row(entry, self.worklist.find_places([entry])),
            flags=self.access.pages.translate(asked.request, {flag: f"flag_{flag}" for flag in FLAGS}),
            may_retry=asked.user.role == "operator" and entry.state in ("refused", "failed") and entry.has_pixels,
            may_delete=asked.user.role == "operator" and entry.state in AT_REST,
            form_token=self.access.make_form_token(asked.request),
        )

    def send_page(self, asked: Asked) -> Response:
        """Send the page of a result, which was written to be opened from disk, with a way back to the list."""
        entry = self._find(asked)
        number = asked.request.path_params["number"]
        results = list_results(entry)
        if not 1 <= number <= len(results):
            raise HTTPException(404)
        html = self._read_page(results[number - 1])
        self._note(asked, ACCESSED, "R", entry)
        language = self.access.pages.find_language(asked.request)
        words = self.access.pages.translate(asked.request, {"to_list": "to_list", "details": "details"})
        bar = BAR.format(language=language, up=find_way_up(asked.request), study=entry.study, **words)
        return HTMLResponse(
            html.replace(BODY, f"{BODY}{bar}", 1), headers={"Content-Security-Policy": make_result_policy(html)}
        )

    def follow_case(self, asked: Asked) -> Response:
        """Lead from the link of a page, which has the case id of a prior scan, to the page of that scan."""
        case_id = asked.request.path_params["case_id"]
        place = self.worklist.map_places([case_id]).get(case_id)
        if place is None:
            raise HTTPException(404)
        return RedirectResponse(f"../../{place.study}/{place.number}/{PAGE}", 303)

    def send_observations(self, asked: Asked) -> Response:
        """Send the measures of a study as FHIR Observations."""
        entry = self._find(asked)
        self._note(asked, EXPORTED, "R", entry)
        bundle = make_bundle(entry, identified=self.worklist.identified)
        return JSONResponse(bundle, media_type="application/fhir+json")

    def retry(self, asked: Asked) -> Response:
        """Let a study that was set aside be predicted again."""
        entry = self._find(asked)
        self._note(asked, ACCESSED, "U", entry)
        if not self.worklist.queue.retry(entry.study):
            self._note(asked, ACCESSED, "U", entry, REFUSED)
            return self.access.pages.render_message(asked.request, "not_possible", 409)
        return RedirectResponse(f"../{entry.study}", 303)

    def delete(self, asked: Asked) -> Response:
        """Delete all that the node keeps of a study."""
        entry = self._find(asked)
        if asked.form.get("sure") != "yes" or entry.state not in AT_REST:
            return self.access.pages.render_message(asked.request, "not_possible", 409)
        self._note(asked, DELETED, "D", entry)
        removed = False
        try:
            removed = remove_study(self.worklist.queue, self.folders, entry.study, AT_REST)
        finally:
            if not removed:
                self._note(asked, DELETED, "D", entry, REFUSED)
        if not removed:
            return self.access.pages.render_message(asked.request, "not_possible", 409)
        return RedirectResponse(find_way_up(asked.request), 303)

    def _find(self, asked: Asked) -> StudyEntry:
        number = asked.request.path_params["study"]
        found = read_studies(self.worklist.queue, number) if number < 2**63 else []
        if not found:
            raise HTTPException(404)
        return found[0]

    def _note(self, asked: Asked, event: str, action: str, entry: StudyEntry, outcome: str = SUCCESS) -> None:
        noted = Event(event, action, outcome, studies=[entry.uid])
        self.access.audit.note(noted, asked.user.name, asked.address, asked.user.role)

    def _read_page(self, result: CaseResult) -> str:
        """Read the page in the folder of a result, if it is a file of that folder and no link out of it."""
        root = self.folders.results.resolve()
        folder = (root / result.case_id).resolve()
        if folder.parent != root:
            raise HTTPException(404)
        try:
            descriptor = os.open(folder / PAGE, os.O_RDONLY | os.O_NOFOLLOW)
            with open(descriptor, encoding="utf-8") as file:
                return file.read()
        except (OSError, ValueError):  # removed meanwhile, or never written
            raise HTTPException(404) from None


def make_result_policy(html: str) -> str:
    """Make the Content-Security-Policy of the page of a result.

    It has its viewer in it, so that it can be opened from disk; styles stand at its elements, and its images are data.
    Only the last script of the page is allowed, by its hash, beside those of this node: all foreign text of the page
    stands before it, so that no script in a foreign text could be allowed, were it ever not escaped. With nothing to
    ask and no image but data, a style can tell nobody anything.
    """
    scripts = SCRIPT.findall(html)
    own = f" {make_hash(scripts[-1])}" if scripts else ""
    return (
        f"default-src 'none'; script-src 'self'{own}; style-src 'unsafe-inline'; img-src data:; form-action 'none'; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
