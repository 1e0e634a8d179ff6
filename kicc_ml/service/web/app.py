"""The worklist page of a hospital node, as a Starlette application: relative links only, nothing from elsewhere."""

import ipaddress
from importlib.resources import files
from threading import Event

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router

from kicc_ml.core.errors import TargetError
from kicc_ml.service.audit import AuditLog
from kicc_ml.service.intake import Folders
from kicc_ml.service.node import Node
from kicc_ml.service.queue import StudyQueue
from kicc_ml.service.refusals import Refusals
from kicc_ml.service.settings import SiteSettings, WebSettings
from kicc_ml.service.web.access import Access
from kicc_ml.service.web.guard import HEADERS, NOTHING_ALLOWED, Guard
from kicc_ml.service.web.listing import ListPage
from kicc_ml.service.web.login import LoginPage
from kicc_ml.service.web.monitor import Monitor
from kicc_ml.service.web.pages import ROOM, Pages
from kicc_ml.service.web.rows import Worklist
from kicc_ml.service.web.sessions import Sessions
from kicc_ml.service.web.stow import ADDRESS, StowIntake, is_stow
from kicc_ml.service.web.study import StudyPages
from kicc_ml.service.web.users import Role, read_users

SCRIPTS = ("worklist.js", "result.js")
PEOPLE: tuple[Role, ...] = ("viewer", "operator")
ALL_ROLES: tuple[Role, ...] = (*PEOPLE, "program")


def make_app(settings: SiteSettings, queue: StudyQueue, folders: Folders) -> Starlette:
    """Make the worklist page of a node.

    Args:
        settings: those of the node.
        queue: its studies.
        folders: its folders; the audit log is written beside them.

    Returns:
        the application, for uvicorn.

    Raises:
        UserError: the file of users or of the token cannot be used, or neither is named.
    """
    web = settings.web
    cookie_path = web.proxy_path.rstrip("/") or "/"
    pages = Pages(web.language, cookie_path)
    audit = AuditLog(folders.audit_log)
    users = read_users(web.users, web.token)
    access = Access(users, Sessions(), audit, pages, cookie_path, not _is_local(web), Refusals(audit))
    worklist = Worklist(queue, settings.identified)
    monitor = Monitor(queue, folders, int(settings.retention.min_free_gib * 2**30))
    routes = [
        *_make_routes(access, ListPage(access, worklist), monitor),
        Route(ADDRESS, _make_stow(access, settings, queue, folders).answer, methods=["POST"]),
        *_make_study_routes(access, StudyPages(access, worklist, folders)),
    ]

    async def say_error(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 503
        word = {404: "not_found", 503: "no_audit"}.get(status)
        if word is None:
            return PlainTextResponse("refused", status)
        return await run_in_threadpool(pages.render_message, request, word, status)

    app = Starlette(
        routes=[*routes, *_mount_below(cookie_path, routes)],
        middleware=[Middleware(Guard, is_unbounded=is_stow)],
        exception_handlers={HTTPException: say_error, TargetError: say_error, Exception: _say_fault},
    )
    app.router.redirect_slashes = False  # such a redirect would have the name of the host that the request states
    return app


def _make_routes(access: Access, listing: ListPage, monitor: Monitor) -> list[BaseRoute]:
    login = LoginPage(access)
    return [
        Route("/login", login.answer, methods=["GET", "POST"]),
        Route("/logout", access.allow(login.log_out, *PEOPLE), methods=["POST"]),
        *(Route(f"/{name}", send_script) for name in SCRIPTS),
        Route("/health", monitor.send_health),
        Route("/metrics", access.allow(monitor.send_metrics, *ALL_ROLES)),
        Route("/", access.allow(listing.show, *PEOPLE)),
        Route("/studies.json", access.allow(listing.send_rows, *ALL_ROLES)),
    ]


def _make_study_routes(access: Access, studies: StudyPages) -> list[BaseRoute]:
    of_study = "/studies/{study:int}"
    return [
        Route(of_study, access.allow(studies.show, *PEOPLE)),
        Route(f"{of_study}/fhir", access.allow(studies.send_observations, *ALL_ROLES)),
        Route(f"{of_study}/{{number:int}}/page.html", access.allow(studies.send_page, *PEOPLE)),
        Route(f"{of_study}/{{case_id}}/page.html", access.allow(studies.follow_case, *PEOPLE)),
        Route(f"{of_study}/retry", access.allow(studies.retry, "operator"), methods=["POST"]),
        Route(f"{of_study}/delete", access.allow(studies.delete, "operator"), methods=["POST"]),
    ]


def _make_stow(access: Access, settings: SiteSettings, queue: StudyQueue, folders: Folders) -> StowIntake:
    """Programs may send what a sender may send by C-STORE, within the same limits."""
    intake, dicom = Node(settings, folders, queue, Event()).intake, settings.dicom
    return StowIntake(access, intake, dicom.object_mib * 2**20, dicom.association_idle_s, dicom.associations)


def _mount_below(path: str, routes: list[BaseRoute]) -> list[BaseRoute]:
    """Serve the same below the path of a proxy, whether it takes its path away or not."""
    if path == "/":
        return []

    async def go_below(request: Request) -> Response:
        return RedirectResponse(f"{path.rpartition('/')[2]}/", 308)

    return [Route(path, go_below), Mount(path, Router(routes, redirect_slashes=False))]


def send_script(request: Request) -> Response:
    """Send a script of the page, which its route names."""
    script = files(ROOM).joinpath(request.url.path.rpartition("/")[2]).read_text(encoding="utf-8")
    return Response(script, media_type="text/javascript; charset=utf-8")


async def _say_fault(request: Request, error: Exception) -> Response:
    return PlainTextResponse(
        "a fault of the node; its log says more", 500, {**HEADERS, "Content-Security-Policy": NOTHING_ALLOWED}
    )


def _is_local(web: WebSettings) -> bool:
    """Whether the page is reached on this machine only, without a proxy: without TLS, then."""
    try:
        loopback = ipaddress.ip_address(web.host).is_loopback
    except ValueError:
        loopback = web.host == "localhost"
    return loopback and not web.proxy_path.strip("/")
