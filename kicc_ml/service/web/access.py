"""Who asks, whether they may, and whether they mean it: before any handler of the worklist page runs."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from kicc_ml.service.audit import LOGIN_REFUSED, RESTRICTED, AuditLog
from kicc_ml.service.refusals import Refusals
from kicc_ml.service.web.guard import BodyTooLarge
from kicc_ml.service.web.pages import Pages, find_way_up
from kicc_ml.service.web.sessions import Sessions
from kicc_ml.service.web.users import Role, User, Users

SESSION_COOKIE, LOGIN_COOKIE = "kicc_session", "kicc_login"
FORM_TOKEN = "form_token"
MAX_FIELDS = 10
#: What a browser says of a request that another site's page began (Fetch Metadata).
FROM_ELSEWHERE = ("cross-site", "same-site")

Handler = Callable[["Asked"], Response]
Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Asked:
    """A request of somebody who may make it, with the fields of its form."""

    request: Request
    user: User
    form: Mapping[str, str]

    @property
    def address(self) -> str:
        """The network address that it came from."""
        return find_address(self.request)

    @property
    def session(self) -> str:
        """The token of its session."""
        return self.request.cookies.get(SESSION_COOKIE, "")


@dataclass(frozen=True)
class Access:
    """Finds who asks and refuses whom it has to. ``path`` and ``secure`` are of the cookies.

    Where they are not ``secure`` always, they still are for who asks by TLS, through a proxy of this machine.
    """

    users: Users
    sessions: Sessions
    audit: AuditLog
    pages: Pages
    path: str
    secure: bool
    refusals: Refusals

    def allow(self, handler: Handler, *roles: Role) -> Endpoint:
        """Make an endpoint of a handler that only users of these roles reach, and by POST only by a form of ours."""

        async def answer(request: Request) -> Response:
            user = self.find_user(request)
            if user is None:
                return await run_in_threadpool(self.ask_to_log_in, request)
            if user.role not in roles:
                return await run_in_threadpool(self.refuse, request, "not_allowed", user)
            form = await read_form(request) if request.method == "POST" else {}
            own = user.role == "program" or self.is_own_form(request, SESSION_COOKIE, form)
            if request.method == "POST" and not own:
                return await run_in_threadpool(self.refuse, request, "not_own_form", user)
            return await run_in_threadpool(handler, Asked(request, user, form))

        return answer

    def find_user(self, request: Request) -> User | None:
        """Find who asks: a program by its token, which then counts alone, or somebody who is logged in."""
        stated = request.headers.get("authorization")
        if stated is not None:
            scheme, _, token = stated.partition(" ")
            return self.users.check_token(token.strip()) if scheme.lower() == "bearer" else None
        return self.sessions.find(request.cookies.get(SESSION_COOKIE, ""))

    def is_own_form(self, request: Request, cookie: str, form: Mapping[str, str]) -> bool:
        """Whether a form was made by this node for the holder of a cookie, and sent from a page of it."""
        elsewhere = request.headers.get("sec-fetch-site") in FROM_ELSEWHERE
        return not elsewhere and self.sessions.is_own_form(request.cookies.get(cookie, ""), form.get(FORM_TOKEN, ""))

    def make_form_token(self, request: Request) -> str:
        """Make the token of a form for who is logged in."""
        return self.sessions.make_form_token(request.cookies.get(SESSION_COOKIE, ""))

    def set_cookie(
        self, request: Request, response: Response, name: str, value: str, seconds: int | None = None
    ) -> None:
        """Set a cookie that no script can read and no page of another site sends."""
        secure = self.secure or request.url.scheme == "https"
        response.set_cookie(
            name, value, max_age=seconds, path=self.path, secure=secure, httponly=True, samesite="strict"
        )

    def remove_cookie(self, request: Request, response: Response, name: str) -> None:
        """Remove a cookie."""
        self.set_cookie(request, response, name, "", 0)

    def refuse(self, request: Request, word: str, user: User | None = None) -> Response:
        """Refuse a request, and note that it was made."""
        event = replace(RESTRICTED, said=f"{request.method} {request.url.path}")
        if user is None:
            self.refusals.note(event, "", find_address(request))
        else:
            self.audit.note(event, user.name, find_address(request), user.role)
        return self.pages.render_message(request, word, 403)

    def ask_to_log_in(self, request: Request) -> Response:
        """Ask somebody who is not known to log in, or a program for its token, and note a wrong token."""
        if "authorization" in request.headers:
            self.refusals.note(LOGIN_REFUSED, "program", find_address(request))
        elif request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return RedirectResponse(f"{find_way_up(request)}login", 303)
        return Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})


def find_address(request: Request) -> str:
    """Find the network address that a request came from."""
    return request.client.host if request.client else ""


async def read_form(request: Request) -> dict[str, str]:
    """Read the fields of a form; of one that is none of ours, nothing.

    Raises:
        BodyTooLarge: it has more fields than any form here.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        return {}
    body = (await request.body()).decode("utf-8", "replace")
    try:
        return {name: values[-1] for name, values in parse_qs(body, max_num_fields=MAX_FIELDS).items()}
    except ValueError:
        raise BodyTooLarge from None
