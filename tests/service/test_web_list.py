"""The list has the worst patients first, says what became of each study, and fits the screen that it is read on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kicc_ml.service.web.sessions import MAX_NOTED, SAME_LIST_S, Sessions
from kicc_ml.service.web.users import User
from tests.support.web_node import TOKEN, WebNode, enter, make_result, make_web_node, running_page

SCRIPT = "<img src=x onerror=\"document.title='hacked'\"><script>document.title='hacked'</script>"


def ask(node: WebNode, **query: str) -> dict:
    return node.log_in().get("/studies.json", params=query, headers={"Authorization": f"Bearer {TOKEN}"}).json()


def numbers(answer: dict) -> list[int]:
    return [row["study"] for row in answer["rows"]]


@pytest.fixture
def node(tmp_path: Path) -> WebNode:
    return make_web_node(tmp_path)


def test_the_worst_come_first_then_the_latest_and_those_without_a_score_last(node: WebNode):
    mild = node.add_study("1.1", make_result("a", 3))
    refused = node.add_study("1.2", reason="no lungs were found")
    film = node.add_study("1.3", make_result("b", None, "CXR", geographic_extent=6))  # 6 of 8: more than 17 of 24
    severe, as_severe = (node.add_study(f"1.{n}", make_result(f"c{n}", 17)) for n in (4, 5))
    worst_of_two = node.add_study("1.6", make_result("d", 0), make_result("e", 23))
    unmeasured = node.add_study("1.7", make_result("f"))
    answer = ask(node)
    assert numbers(answer) == [worst_of_two, film, as_severe, severe, mild, unmeasured, refused]
    assert answer["rows"][0]["results"][0]["score"] == 23
    assert (answer["rows"][1]["results"][0]["score"], answer["rows"][1]["results"][0]["most"]) == (6, 8)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_measure_that_is_no_number_is_none_and_hides_no_other_study(node: WebNode, value: float):
    strange = node.add_study("1.1", make_result("a", value, lesion_ml=value))
    other = node.add_study("1.2", make_result("b", 3))
    answer = ask(node)
    assert numbers(answer) == [other, strange]
    assert (answer["rows"][1]["results"][0]["score"], answer["rows"][1]["results"][0]["lesion_ml"]) == (None, None)
    fhir = node.log_in().get(f"/studies/{strange}/fhir", headers={"Authorization": f"Bearer {TOKEN}"})
    assert "entry" not in fhir.json()


def test_studies_that_were_set_aside_say_why_and_are_counted(node: WebNode):
    refused = node.add_study("1.1", reason="the series is a head")
    failed = node.add_study("1.2", reason="the worker ran out of memory", crashed=True)
    answer = ask(node)
    assert {row["study"]: (row["state"], row["reason"]) for row in answer["rows"]} == {
        refused: ("refused", "the series is a head"),
        failed: ("failed", "the worker ran out of memory"),
    }
    assert (answer["states"]["refused"], answer["states"]["failed"], answer["states"]["done"]) == (1, 1, 0)
    assert numbers(ask(node, state="failed")) == [failed]


def test_studies_are_found_by_name_number_and_reason(node: WebNode):
    hana = node.add_study("1.1", make_result("a", 3), Name="김 하나", ID="A-17")
    other = node.add_study("1.2", reason="a head", Name="Lee Minho", ID="B-18")
    assert numbers(ask(node, q="하나")) == [hana]
    assert numbers(ask(node, q="minho HEAD")) == [other]
    assert numbers(ask(node, q="17")) == [hana]
    assert numbers(ask(node, q="hana minho")) == []


def test_a_prior_scan_is_linked_with_its_score(node: WebNode):
    before = node.add_study("1.1", make_result("other", 1), make_result("a", 4))
    node.add_study("1.2", make_result("b", 9, prior="a"), make_result("c", 2, prior="gone"))
    later, without = ask(node)["rows"][0]["results"]
    number = next(one["number"] for one in ask(node)["rows"][1]["results"] if one["score"] == 4)
    assert (later["prior"], without["prior"]) == ({"study": before, "number": number, "score": 4}, None)


def test_nothing_identifies_a_patient_unless_the_configuration_says_so(tmp_path: Path):
    node = make_web_node(tmp_path, identified=False)
    node.add_study("1.2.840.99", make_result("a", 3), Name="Kim Hana", ID="A-17")
    answer = node.log_in("vera").get("/studies.json")
    assert answer.json()["rows"][0]["identity"] == {}
    assert "Hana" not in answer.text
    assert "1.2.840.99" not in answer.text
    assert ask(node, q="hana")["rows"] == []


def test_a_search_is_noted_and_the_same_list_again_is_not(node: WebNode):
    client = node.log_in("vera")
    client.get("/studies.json", params={"q": "hana"})
    noted = node.audit
    assert '"ParticipantObjectQuery": "worklist hana"' in noted
    client.get("/studies.json?q=hana&state=done")
    assert node.audit == noted
    node.log_in("otto").get("/studies.json?q=hana")
    client.get("/studies.json?q=minho&again")  # no word of a client leaves a search out
    client.get("/studies.json?q=hana&again=1")
    assert node.audit.count('"worklist hana"') == 2
    assert node.audit.count('"worklist minho"') == 1


def test_a_search_whose_list_was_left_meanwhile_is_to_be_noted_again():
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    token = sessions.begin(User("vera", "viewer"))
    assert not sessions.is_noted(token, "hana")
    for now[0] in (0, SAME_LIST_S - 1, 2 * SAME_LIST_S - 3):
        sessions.keep_noted(token, "hana")
        assert sessions.is_noted(token, "hana")
        assert not sessions.is_noted(token, "minho")
    now[0] = 3 * SAME_LIST_S
    assert not sessions.is_noted(token, "hana")
    for number in range(MAX_NOTED + 1):
        sessions.keep_noted(token, f"search {number}")
    assert not sessions.is_noted(token, "search 0")
    assert sessions.is_noted(token, f"search {MAX_NOTED}")


def test_a_page_of_rows_is_sent_and_the_number_of_all_is_said(node: WebNode, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kicc_ml.service.web.rows.MOST_ROWS", 2)
    studies = [node.add_study(f"1.{n}", make_result(f"a{n}", n), reason="a head" if n % 2 else "") for n in range(5)]
    answer = ask(node)
    assert (numbers(answer), answer["found"], answer["first"], answer["most"]) == (studies[:2:-1], 5, 0, 2)
    assert numbers(ask(node, first="2")) == [studies[2], studies[1]]
    assert numbers(ask(node, first="2", q="STUDY")) == []
    assert numbers(ask(node, first="1", q="head")) == [studies[1]]
    for wrong in ("-1", "x", "9" * 30, "²"):
        assert numbers(ask(node, first=wrong)) == studies[:2:-1]


def test_a_prior_scan_on_another_page_is_linked_too(node: WebNode, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kicc_ml.service.web.rows.MOST_ROWS", 1)
    before = node.add_study("1.1", make_result("a", 4))
    node.add_study("1.2", make_result("b", 9, prior="a"))
    assert ask(node)["rows"][0]["results"][0]["prior"] == {"study": before, "number": 1, "score": 4}


@pytest.fixture(scope="module")
def full_node(tmp_path_factory: pytest.TempPathFactory) -> WebNode:
    """A node of many kinds of study, behind a proxy, with a script in every text that a sender can write."""
    node = make_web_node(tmp_path_factory.mktemp("node"), proxy_path="/kicc")
    node.add_study("1.1", make_result("a", 4, percent_involved=12.0, lesion_ml=310.0), Name="Park Jisoo", ID="A-17")
    node.add_study(
        "1.2", make_result("b", 19, prior="a", percent_involved=61.5, lesion_ml=2210.0), Name="김 하나", ID="A-17"
    )
    node.add_study("1.3", reason=SCRIPT, **{"Name": SCRIPT, "ID": SCRIPT, "Study date": SCRIPT})
    node.add_study("1.4", make_result(SCRIPT.replace("/", ""), 1, modality=SCRIPT), Name="W" * 64, ID="9" * 64)
    node.add_study("1.5", reason="the worker ran out of memory " * 9, crashed=True, Name="Choi Yuna")
    return node


@pytest.fixture(scope="module")
def address(full_node: WebNode) -> Iterator[str]:
    with running_page(full_node) as address:
        yield address


def open_list(browser, address: str, width: int = 1440, name: str = "vera"):
    """A page that shows the list, and all that it asked for or said wrong."""
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    wrong: list[str] = []
    page.on("request", lambda request: request.url.startswith(address) or wrong.append(request.url))
    page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    enter(page, address, name)
    return page, wrong


def test_no_script_in_a_text_of_a_study_runs_and_the_text_is_shown_as_it_is(browser, address: str):
    page, wrong = open_list(browser, address)
    assert page.title() == "kicc_ml – Worklist"
    assert page.locator("#worklist img, #worklist script").count() == 0
    assert SCRIPT in page.inner_text("#worklist")
    assert wrong == []


def test_the_list_on_a_phone_has_no_horizontal_scroll(browser, address: str):
    page, _ = open_list(browser, address, width=390)
    for language in ("en", "ko"):
        page.goto(f"{address}?language={language}")
        page.wait_for_selector("#worklist[data-ready=yes]")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.inner_text("#worklist tr[data-study='2'] .patient .open") == "김 하나"
    sign = (
        "[2, 4].map(n => getComputedStyle(document.querySelector(`[data-study='${n}'] .involved`), '::after').content)"
    )
    assert page.evaluate(sign) == ['" %"', '""']  # no percent sign where nothing was measured


def test_a_reader_chooses_korean_and_it_stays(browser, address: str):
    page, _ = open_list(browser, address)
    page.click("a[lang=ko]")
    page.goto(address)
    page.wait_for_selector("#worklist[data-ready=yes]")
    assert page.evaluate("document.documentElement.lang") == "ko"
    assert page.inner_text("h1").startswith("작업 목록")
    assert "완료" in page.inner_text("#worklist")


def test_states_are_live_and_filter_and_search_narrow_the_list(browser, full_node: WebNode, address: str):
    page, _ = open_list(browser, address)
    page.click("[data-state=failed]")
    page.wait_for_selector("tr[data-study='2']", state="detached")
    assert page.locator("#worklist tbody tr").count() == 1
    page.click("[data-state='']")
    page.wait_for_selector("tr[data-study='2']")
    page.fill("#search", "jisoo")
    page.wait_for_selector("tr[data-study='2']", state="detached")
    assert page.locator("#worklist tbody tr").count() == 1
    assert "310" in page.inner_text("#worklist")
    page.fill("#search", "")
    page.wait_for_selector("tr[data-study='2']")
    added = full_node.add_study("9.9", make_result("z", 24), Name="New")
    page.wait_for_selector(f"tr[data-study='{added}']", timeout=30_000)
    assert page.locator("#worklist tbody tr").first.get_attribute("data-study") == str(added)
