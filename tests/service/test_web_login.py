"""Nobody sees the worklist page who is not known, and nobody does anything there by accident or by a trick."""

import asyncio
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment

from kicc_ml.service.web.guard import MAX_BODY_BYTES
from kicc_ml.service.web.pages import Pages
from kicc_ml.service.web.sessions import MAX_OF_USER, MOST_OF_ADDRESS, MOST_OF_NAME, SESSION_S, LoginTries, Sessions
from kicc_ml.service.web.users import User
from tests.support.web_node import PASSWORD, TOKEN, WebNode, find_form_token, make_web_node

#: Only these are for everybody.
OPEN = {"/login", "/worklist.js", "/result.js", "/health"}


@pytest.fixture
def node(tmp_path: Path) -> WebNode:
    return make_web_node(tmp_path)


def list_addresses(node: WebNode) -> list[tuple[str, str]]:
    """Method and address of all that the page has, with numbers in the place of names."""
    found = []
    for route in node.app.routes:
        path = route.path.replace("{study:int}", "1").replace("{number:int}", "1").replace("{case_id}", "case")
        found += [(method, path) for method in route.methods - {"HEAD"} if path not in OPEN]
    return found


def test_nobody_unknown_is_shown_or_may_do_anything(node: WebNode):
    node.add_study("1.2.3", Name="Kim Hana")
    addresses = list_addresses(node)
    assert {("GET", "/"), ("GET", "/studies.json"), ("POST", "/logout")} <= set(addresses)
    tricks = [
        {},
        {"Authorization": "Bearer " + "x" * 32},
        {"Authorization": f"Basic {TOKEN}"},
        {"Cookie": "kicc_session=x"},
    ]
    for method, address in addresses:
        for headers in tricks:
            answer = node.log_in().request(method, address, headers=headers, follow_redirects=False)
            assert answer.status_code in (303, 401), (method, address)
            assert "Hana" not in answer.text
            assert answer.headers.get("location", "login").endswith("login")


def test_who_logs_in_sees_the_list_until_they_log_out(node: WebNode):
    client = node.log_in("vera")
    page = client.get("/")
    assert page.status_code == 200
    assert "vera" in page.text
    token = client.cookies["kicc_session"]
    client.post("/logout", data={"form_token": find_form_token(page.text)})
    late = client.get("/studies.json", headers={"Cookie": f"kicc_session={token}"}, follow_redirects=False)
    assert late.status_code == 303


def test_a_session_ends_with_its_time_and_a_forged_one_never_began():
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    token = sessions.begin(User("vera", "viewer"))
    assert sessions.find(token) == User("vera", "viewer")
    assert sessions.find(token[:-1]) is None
    now[0] = SESSION_S + 1
    assert sessions.find(token) is None


def test_many_logins_of_a_user_end_no_session_of_another():
    sessions, vera, otto = Sessions(), User("vera", "viewer"), User("otto", "operator")
    other, tokens = sessions.begin(otto), [sessions.begin(vera) for _ in range(1500)]
    assert sessions.find(other) == otto
    assert [sessions.find(token) for token in tokens] == [None] * (1500 - MAX_OF_USER) + [vera] * MAX_OF_USER


@pytest.mark.parametrize("form", [{}, {"form_token": "0" * 64}, {"form_token": "é"}])
def test_a_form_without_the_token_of_this_session_does_nothing(node: WebNode, form: dict[str, str]):
    client = node.log_in("vera")
    assert client.post("/logout", data=form).status_code == 403
    assert client.get("/").status_code == 200
    assert '"110132"' in node.audit


def test_the_token_of_another_session_or_another_site_does_nothing(node: WebNode):
    client, other = node.log_in("vera"), node.log_in("otto")
    stolen, own = (find_form_token(one.get("/").text) for one in (other, client))
    assert client.post("/logout", data={"form_token": stolen}).status_code == 403
    for site in ("cross-site", "same-site"):
        assert client.post("/logout", data={"form_token": own}, headers={"Sec-Fetch-Site": site}).status_code == 403
    assert client.get("/").status_code == 200


def test_a_login_form_of_another_site_logs_nobody_in(node: WebNode):
    client = node.log_in()
    answer = client.post("/login", data={"user": "vera", "password": PASSWORD}, follow_redirects=False)
    assert answer.status_code == 403
    assert "kicc_session" not in client.cookies


def test_a_wrong_password_is_refused_and_a_right_one_too_after_too_many(node: WebNode):
    client = node.log_in()
    form = {"form_token": find_form_token(client.get("/login").text), "user": "vera"}
    answers = [client.post("/login", data={**form, "password": "wrong"}).status_code for _ in range(MOST_OF_NAME + 1)]
    assert answers == [403] * MOST_OF_NAME + [429]
    answer = client.post("/login", data={**form, "password": PASSWORD})
    assert (answer.status_code, "kicc_session" in client.cookies) == (429, False)
    assert node.log_in("otto").get("/").status_code == 200


def test_many_names_from_one_address_are_too_many_and_a_right_password_gives_none_of_them_back():
    now = [0.0]
    tries = LoginTries(lambda: now[0])
    assert all(tries.begin(f"name {number}", "10.0.0.1") for number in range(MOST_OF_ADDRESS - 1))
    assert tries.begin("own", "10.0.0.1")
    tries.forgive("own", "10.0.0.1")
    assert tries.begin("another", "10.0.0.1")
    assert not tries.begin("own", "10.0.0.1")
    assert tries.begin("own", "10.0.0.2")
    now[0] = 301
    assert tries.begin("own", "10.0.0.1")


@pytest.mark.parametrize(
    ("web", "scheme", "secure"),
    [
        ({}, "http", False),
        ({}, "https", True),  # a proxy of this machine
        ({"host": "0.0.0.0"}, "https", True),
        ({"host": "node.hospital"}, "https", True),
        ({"proxy_path": "/kicc"}, "https", True),
    ],
)
def test_the_cookie_is_for_this_site_and_no_script_and_for_tls_unless_on_this_machine(
    tmp_path: Path, web, scheme: str, secure: bool
):
    node = make_web_node(tmp_path, **web)
    way = node.settings.web.proxy_path
    client = node.log_in(base_url=f"{scheme}://testserver")
    form = {"form_token": find_form_token(client.get(f"{way}/login").text), "user": "vera", "password": PASSWORD}
    cookie = client.post(f"{way}/login", data=form, follow_redirects=False).headers["set-cookie"]
    parts = {part.strip().lower() for part in cookie.partition("kicc_session=")[2].split(", ")[0].split(";")}
    assert {"httponly", "samesite=strict", f"path={node.settings.web.proxy_path or '/'}"} <= parts
    assert ("secure" in parts) == secure


def test_every_answer_binds_the_browser(node: WebNode):
    client = node.log_in("vera")
    for address in ("/", "/login", "/worklist.js", "/studies.json", "/nothing", "/studies/99"):
        headers = client.get(address).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == "'none'"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


def has_running_loop() -> bool:
    try:
        return asyncio.get_running_loop() is not None
    except RuntimeError:
        return False


def test_a_page_that_anybody_may_ask_for_is_compiled_once_and_holds_nobody_else_up(
    node: WebNode, monkeypatch: pytest.MonkeyPatch
):
    client, fill, in_loop = node.log_in(), Pages.render, []

    def fill_and_look(*words: Any, **values: Any) -> Any:
        in_loop.append(has_running_loop())
        return fill(*words, **values)

    addresses = ("/login", "/nothing")
    before = [client.get(f"{address}?language=ko").text for address in addresses]
    monkeypatch.setattr(Pages, "render", fill_and_look)
    monkeypatch.setattr(Environment, "compile", None)
    assert len([client.get(f"{address}?language=en").text for address in addresses]) == 2
    after = [client.get(f"{address}?language=ko").text for address in addresses]
    assert [text.count("목록") for text in after] == [text.count("목록") for text in before]
    assert in_loop == [False] * 4


def test_no_redirect_leads_to_the_host_that_a_request_names(node: WebNode):
    for address in ("/login/", "/studies.json/", "/studies/1/"):
        answer = node.log_in().get(address, headers={"Host": "evil.example"}, follow_redirects=False)
        assert (answer.status_code, "location" in answer.headers) == (404, False)


def test_no_page_has_a_script_of_its_own_or_anything_from_elsewhere(node: WebNode):
    client = node.log_in("vera")
    for html in (client.get("/").text, node.log_in().get("/login").text):
        assert "<script>" not in html
        assert " on" not in " ".join(part for part in html.split("<")[1:] if part.startswith(("button", "body")))
        assert "//" not in html.replace("<!doctype", "")


def test_a_body_that_no_form_has_is_refused_before_it_is_kept(node: WebNode):
    client = node.log_in()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    many = "&".join(f"field{number}=1" for number in range(100))
    assert client.post("/login", content=b"a" * (MAX_BODY_BYTES + 1), headers=form).status_code == 413
    assert client.post("/login", content=many, headers=form).status_code == 413


def test_a_program_is_known_by_its_token_only(node: WebNode):
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert node.log_in().get("/studies.json", headers=bearer).status_code == 200
    assert node.log_in("vera").get("/studies.json", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert node.log_in().get("/", headers=bearer).status_code == 403


def test_logins_are_noted_in_a_file_that_only_its_user_can_read(node: WebNode):
    node.log_in("vera")
    (line,) = node.audit.splitlines()
    event = json.loads(line)
    assert event["EventIdentification"]["EventID"]["csd-code"] == "110114"
    assert event["EventIdentification"]["EventTypeCode"][0]["csd-code"] == "110122"
    assert event["ActiveParticipant"][0]["UserID"] == "vera"
    assert event["ActiveParticipant"][0]["NetworkAccessPointID"] == "10.0.0.7"
    assert stat.S_IMODE((node.folders.root / "audit.jsonl").stat().st_mode) == 0o600
