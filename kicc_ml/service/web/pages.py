"""Fill the templates of the worklist page in the language of who asks."""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.metadata import version
from typing import Any

from jinja2 import Template
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from kicc_ml.core.pages import read_template
from kicc_ml.service.settings import LANGUAGES
from kicc_ml.service.web.words import WORDS

LANGUAGE_COOKIE, YEAR_S = "kicc_language", 365 * 24 * 3600
ROOM = "kicc_ml.service.web"


@dataclass(frozen=True)
class Pages:
    """The pages of a node. ``language`` is that of who chose none; ``path`` is that of the cookie that keeps it."""

    language: str
    path: str

    def render(self, request: Request, name: str, status: int = 200, **values: Any) -> Response:
        """Render a template.

        Args:
            request: who asks, in what language.
            name: the template.
            status: of the answer.
            **values: what the template shows.

        Returns:
            the page; a browser runs no script in it but those of this node, and asks nobody else for anything.
        """
        chosen = request.query_params.get("language", "")
        language = self.find_language(request)
        words = {name: both[LANGUAGES.index(language)] for name, both in WORDS.items()}
        html = _read_template(name).render(
            up=find_way_up(request), language=language, word=words.__getitem__, version=version("kicc_ml"), **values
        )
        html = html.replace('<html lang="en">', f'<html lang="{language}">', 1)
        response = HTMLResponse(html, status, {"Content-Security-Policy": make_policy(html)})
        if chosen in LANGUAGES:
            response.set_cookie(LANGUAGE_COOKIE, chosen, YEAR_S, path=self.path, samesite="strict")
        return response

    def render_message(self, request: Request, word: str, status: int) -> Response:
        """Render a page that says one thing, such as why something was refused."""
        return self.render(request, "message.html.j2", status, message=word)

    def find_language(self, request: Request) -> str:
        """Find the language of who asks: what they choose now, or chose before, or that of the node."""
        for language in (request.query_params.get("language"), request.cookies.get(LANGUAGE_COOKIE)):
            if language in LANGUAGES:
                return str(language)
        return self.language

    def translate(self, request: Request, names: Mapping[str, str]) -> dict[str, str]:
        """Return the words that a script of the page shows, in the language of who asks."""
        index = LANGUAGES.index(self.find_language(request))
        return {key: WORDS[name][index] for key, name in names.items()}


@cache
def _read_template(name: str) -> Template:
    """Read a template once: to compile it takes much longer than to fill it, and anybody may ask for some pages."""
    return read_template(ROOM, name, {"when": format_time, "day": format_day})


def format_time(seconds: float) -> str:
    """Format a time in the time zone of the node."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M %Z")


def format_day(text: str) -> str:
    """Format a date of DICOM; other text stays as it is."""
    return re.sub(r"(\d{4})(\d{2})(\d{2})", r"\1-\2-\3", text) if re.fullmatch(r"\d{8}", text) else text


def find_way_up(request: Request) -> str:
    """Find the relative way to the list from the page that was asked for, wherever a proxy puts it."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    return "../" * (path.count("/") - 1) or "./"


def make_policy(html: str) -> str:
    """Make the Content-Security-Policy of a page of ours, whose one style sheet stands in it."""
    return (
        f"default-src 'none'; script-src 'self'; connect-src 'self'; style-src {make_hash(find_style(html))}; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )


def find_style(html: str) -> str:
    """Find the style sheet of a page; nothing foreign stands before it but escaped."""
    found = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    return found[1] if found else ""


def make_hash(text: str) -> str:
    """Make the source expression by which a policy allows this one script or style sheet."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
