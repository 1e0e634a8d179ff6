"""Log in and out."""

import secrets
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from kicc_ml.service.audit import LOGIN, LOGIN_REFUSED, LOGOUT
from kicc_ml.service.web.access import LOGIN_COOKIE, SESSION_COOKIE, Access, Asked, find_address, read_form
from kicc_ml.service.web.pages import find_way_up
from kicc_ml.service.web.sessions import TRIES_S, LoginTries
from kicc_ml.service.web.users import MAX_NAME_CHARACTERS

ENDS_S = 3600


@dataclass(frozen=True)
class LoginPage:
    """The page on which users log in."""

    access: Access
    tries: LoginTries = field(default_factory=LoginTries)

    async def answer(self, request: Request) -> Response:
        """Show the form, or check what was typed into it."""
        if request.method != "POST":
            return await run_in_threadpool(self._show, request)
        form = await read_form(request)
        return await run_in_threadpool(self._check, request, form)

    def log_out(self, asked: Asked) -> Response:
        """End the session."""
        self.access.sessions.end(asked.request.cookies.get(SESSION_COOKIE, ""))
        self.access.audit.note(LOGOUT, asked.user.name, asked.address, asked.user.role)
        response = RedirectResponse(f"{find_way_up(asked.request)}login", 303)
        self.access.remove_cookie(asked.request, response, SESSION_COOKIE)
        return response

    def _show(self, request: Request, message: str = "", status: int = 200) -> Response:
        cookie = request.cookies.get(LOGIN_COOKIE) or secrets.token_urlsafe(32)
        token = self.access.sessions.make_form_token(cookie)
        response = self.access.pages.render(request, "login.html.j2", status, form_token=token, message=message)
        self.access.set_cookie(request, response, LOGIN_COOKIE, cookie, ENDS_S)
        return response

    def _check(self, request: Request, form: dict[str, str]) -> Response:
        if not self.access.is_own_form(request, LOGIN_COOKIE, form):
            return self.access.refuse(request, "not_own_form")
        name, address = form.get("user", "").strip()[:MAX_NAME_CHARACTERS], find_address(request)
        if not self.tries.begin(name, address):
            self.access.refusals.note(LOGIN_REFUSED, name, address)
            response = self._show(request, "too_many_tries", 429)
            response.headers["Retry-After"] = str(int(TRIES_S))
            return response
        user = self.access.users.check_password(name, form.get("password", ""))
        if user is None:
            self.access.audit.note(LOGIN_REFUSED, name, address)
            return self._show(request, "wrong_password", 403)
        self.tries.forgive(name, address)
        self.access.audit.note(LOGIN, user.name, address, user.role)
        response = RedirectResponse(find_way_up(request), 303)
        self.access.set_cookie(request, response, SESSION_COOKIE, self.access.sessions.begin(user))
        self.access.remove_cookie(request, response, LOGIN_COOKIE)
        return response
