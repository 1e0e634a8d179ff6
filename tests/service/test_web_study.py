"""A study shows what became of it and the pages of its results, and only an operator changes anything."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from kicc_ml.clinic.outputs import make_patient_page
from kicc_ml.clinic.page.page import PatientPage, Scan, write_page
from kicc_ml.service.web.removal import remove_study
from kicc_ml.service.web.study import AT_REST, make_result_policy
from kicc_ml.service.worklist import read_studies
from tests.support.page_pixels import pixels
from tests.support.predicted_scan import MODEL, NOTHING, predicted
from tests.support.web_node import TOKEN, WebNode, enter, find_form_token, make_result, make_web_node, running_page

SCRIPT = "<script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">"


@pytest.fixture
def node(tmp_path: Path) -> WebNode:
    return make_web_node(tmp_path)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> PatientPage:
    """A page as a prediction writes it, with a script in every text that a sender can write."""
    _, result = predicted(tmp_path_factory.mktemp("scan"))
    return make_patient_page(replace(result, case_id=SCRIPT), NOTHING, MODEL, {"Name": SCRIPT, "ID": SCRIPT})


def events(node: WebNode) -> list[tuple[str, str]]:
    """Code and action of what was noted."""
    stated = [json.loads(line)["EventIdentification"] for line in node.audit.splitlines()]
    return [(one["EventID"]["csd-code"], one["EventActionCode"]) for one in stated]


def press(client: TestClient, address: str, study: int, **form: str) -> int:
    """Press a button of the page of a study; the status of the answer."""
    found = client.get(f"/studies/{study}").text
    form = {"form_token": find_form_token(found) if "form_token" in found else "", **form}
    return client.post(address, data=form, follow_redirects=False).status_code


def test_the_page_of_a_study_says_what_became_of_it(node: WebNode):
    refused = node.add_study("1.2.3", reason="CT: a head", Name="Lee Minho", ID="B-18")
    text = node.log_in("vera").get(f"/studies/{refused}").text
    assert "CT: a head" in text
    assert "Lee Minho" in text
    assert '"110103"' in node.audit
    assert '"ParticipantObjectID": "1.2.3"' in node.audit


def test_the_page_of_a_study_says_what_a_reader_has_to_know_of_each_result(node: WebNode):
    flags = ("domain_outside", "uncertainty_unusual", "a new one")
    node.add_study("1.2.2", make_result("a", 4.0))
    study = node.add_study("1.2.3", replace(make_result("b", 19.0, prior="a"), flags=flags))
    client = node.log_in("vera")
    english, korean = (client.get(f"/studies/{study}?language={one}").text for one in ("en", "ko"))
    marks = [re.findall(r'class="mark">([^<]+)<', text) for text in (english, korean)]
    assert marks == [
        ["outside the validated range", "unusually uncertain", "a new one"],
        ["검증 범위 밖", "불확실성 높음", "a new one"],
    ]
    assert "CT 19 / 24" in english  # as on the list
    assert "prior 4</a>" in english


def test_the_page_of_a_result_is_sent_with_a_way_back_and_noted(node: WebNode, content: PatientPage):
    study = node.add_study("1.2.3", make_result("a", 3))
    write_page(node.folders.results / "a" / "page.html", content)
    client = node.log_in("vera")
    answer = client.get(f"/studies/{study}/1/page.html")
    assert answer.status_code == 200
    assert 'href="../../../"' in answer.text
    assert events(node)[-1] == ("110103", "R")


def test_nothing_but_the_page_of_a_known_result_is_sent(node: WebNode, tmp_path: Path):
    (tmp_path / "page.html").write_text("secret")
    (node.folders.root / "page.html").write_text("secret")
    for case_id in ("other", "linked"):
        (node.folders.results / case_id).mkdir()
    (node.folders.results / "other" / "page.html").write_text("secret")
    (node.folders.results / "linked" / "page.html").symlink_to(tmp_path / "page.html")
    (node.folders.results / "outside").symlink_to(tmp_path)
    study = node.add_study("1.2")
    with node.queue.database.transaction() as connection:  # case ids that no node writes
        for case_id in ("linked", "outside", "..", "../..", str(tmp_path)):
            connection.execute("INSERT INTO result VALUES (?, ?, '', 'CT', '{}', '[]', '')", (case_id, study))
    client = node.log_in("vera")
    addresses = [f"/studies/{study}/{number}/page.html" for number in range(8)]
    addresses += [f"/studies/{study}/{name}/page.html" for name in ("other", "%2e%2e", "..%2f..", "%2fetc", "a%00")]
    addresses += ["/studies/99/1/page.html", f"/studies/{'9' * 40}", "/studies/-1", "/studies/%2e%2e/users.yaml"]
    for address in addresses:
        answer = client.get(address)
        assert answer.status_code == 404, address
        assert "secret" not in answer.text


def test_the_link_of_a_page_to_a_prior_scan_leads_to_the_page_of_that_scan(node: WebNode, content: PatientPage):
    before = node.add_study("1.1", make_result("a", 3))
    after = node.add_study("1.2", make_result("b", 5, prior="a"))
    write_page(node.folders.results / "a" / "page.html", content)
    answer = node.log_in("vera").get(f"/studies/{after}/.././{after}/a/page.html")
    assert str(answer.url).endswith(f"/studies/{before}/1/page.html")
    assert answer.status_code == 200


def test_only_an_operator_has_a_study_that_was_set_aside_predicted_again(node: WebNode):
    study = node.add_study("1.2", reason="out of memory", crashed=True)
    viewer, operator = node.log_in("vera"), node.log_in("otto")
    address = f"/studies/{study}/retry"
    assert "retry" not in viewer.get(f"/studies/{study}").text
    own = {"form_token": find_form_token(viewer.get("/").text)}
    assert viewer.post(address, data=own).status_code == 403
    assert operator.post(address, data={"form_token": "0" * 64}).status_code == 403
    assert read_studies(node.queue, study)[0].state == "failed"
    assert press(operator, address, study) == 303
    assert read_studies(node.queue, study)[0].state == "waiting"
    assert press(operator, address, study) in (403, 409)


def test_only_an_operator_who_is_sure_deletes_all_of_a_study_and_nothing_else(node: WebNode):
    study, other = node.add_study("1.2", make_result("a", 3)), node.add_study("1.3", make_result("b", 3))
    viewer, operator = node.log_in("vera"), node.log_in("otto")
    address = f"/studies/{study}/delete"
    assert (
        viewer.post(address, data={"form_token": find_form_token(viewer.get("/").text), "sure": "yes"}).status_code
        == 403
    )
    assert press(operator, address, study) == 409
    assert (node.folders.results / "a").exists()
    assert press(operator, address, study, sure="yes") == 303
    assert [entry.study for entry in read_studies(node.queue)] == [other]
    assert sorted(path.name for path in node.folders.results.iterdir()) == ["b"]
    assert [path.name for path in node.folders.received.iterdir() if path.is_dir()] == [str(other)]
    assert ("110105", "D") in events(node)
    assert operator.get("/studies.json").json()["found"] == 1


def test_a_study_that_is_being_predicted_is_not_deleted(node: WebNode):
    study = node.add_study("1.2", make_result("a", 3))
    node.queue.add_instance(study, "1.2.9", "b.dcm", 6)
    node.queue.close_complete(0, None)
    assert node.queue.take() is not None
    operator = node.log_in("otto")
    token = find_form_token(operator.get("/").text)
    answer = operator.post(f"/studies/{study}/delete", data={"form_token": token, "sure": "yes"})
    assert answer.status_code == 409
    assert ("110105", "D") not in events(node)
    assert not remove_study(node.queue, node.folders, study, AT_REST)  # it began while the page was asked
    assert (node.folders.results / "a").exists()


def test_what_cannot_be_noted_is_not_shown(node: WebNode):
    study = node.add_study("1.2", make_result("a", 3), Name="Kim Hana")
    client = node.log_in("vera")
    (node.folders.root / "audit.jsonl").unlink()
    (node.folders.root / "audit.jsonl").mkdir()
    answer = client.get(f"/studies/{study}")
    assert (answer.status_code, "Hana" in answer.text) == (503, False)


def test_the_measures_of_a_study_are_fhir_observations_in_ucum(node: WebNode):
    result = make_result("a", 19, percent_involved=61.5, lesion_ml=2210.0, geographic_extent=None)
    study = node.add_study("1.2.3", result, Name="Kim Hana", ID="A-17", **{"Study date": "20200311"})
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = node.log_in().get(f"/studies/{study}/fhir", headers=headers)
    assert answer.headers["content-type"] == "application/fhir+json"
    observations = [entry["resource"] for entry in answer.json()["entry"]]
    values = {one["code"]["text"]: one["valueQuantity"] for one in observations}
    assert values["Severity score 0-24 (Wang 2020)"]["value"] == 19
    assert (values["Lesion volume"]["value"], values["Lesion volume"]["code"]) == (2210.0, "ml")
    assert (values["Share of lung involved"]["value"], values["Share of lung involved"]["code"]) == (61.5, "%")
    assert len(observations) == 3
    for one in observations:
        assert (one["resourceType"], one["status"]) == ("Observation", "preliminary")
        assert one["valueQuantity"]["system"] == "http://unitsofmeasure.org"
        assert one["subject"]["identifier"]["value"] == "A-17"
        assert one["effectiveDateTime"] == "2020-03-11"
        assert one["derivedFrom"][0]["identifier"]["value"] == "urn:oid:1.2.3"
    assert events(node)[-1] == ("110106", "R")


def test_observations_identify_nobody_unless_the_configuration_says_so(tmp_path: Path):
    node = make_web_node(tmp_path, identified=False)
    study = node.add_study("1.2.840.99", make_result("a", 19), Name="Kim Hana", ID="A-17")
    text = node.log_in("vera").get(f"/studies/{study}/fhir").text
    assert "Observation" in text
    assert not [word for word in ("Hana", "A-17", "1.2.840.99") if word in text]


def test_a_script_in_a_page_is_not_allowed_were_it_not_escaped():
    html = "<body>\n<p><script>bad()</script></p><script>viewer()</script></body>"
    assert make_result_policy(html).count("sha256-") == 1
    assert make_result_policy(html) == make_result_policy(html.replace("bad", "other"))
    assert make_result_policy(html) != make_result_policy(html.replace("viewer", "other"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, content: PatientPage) -> Iterator[tuple[WebNode, str]]:
    """A node behind a proxy with a page, and with one into which a script came unescaped."""
    node = make_web_node(tmp_path_factory.mktemp("node"), proxy_path="/kicc")
    node.add_study("1.1", make_result("a", 3), Name=SCRIPT)
    node.add_study("1.2", make_result("b", 3, prior="a"), Name=SCRIPT)
    prior = Scan(None, content.scan.severity, days_before=7, link="../././a/page.html")
    path = write_page(node.folders.results / "a" / "page.html", content)
    html = path.read_text(encoding="utf-8").replace("<header>", f"<header>{SCRIPT}", 1)
    write_page(node.folders.results / "b" / "page.html", replace(content, previous=prior))
    path.write_text(html, encoding="utf-8")
    with running_page(node) as address:
        yield node, address


def test_the_viewer_of_a_served_page_works_in_the_language_of_the_list(browser, served):
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    wrong: list[str] = []
    page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    enter(page, served[1], "vera")
    page.click("a[lang=ko]")
    page.wait_for_selector("#worklist[data-ready=yes]")
    page.click("tr[data-study='2'] .open")
    page.wait_for_selector(".viewer[data-ready=yes]")
    assert page.evaluate("document.documentElement.lang") == "ko"
    shown = pixels(page)
    page.click("[data-set='plane=coronal']")
    assert not (shown.shape == pixels(page).shape and (shown == pixels(page)).all())
    assert page.title() != "hacked"
    assert wrong == []
    page.click("a[href$='a/page.html']")
    page.wait_for_url("**/studies/1/1/page.html")
    page.click("nav a >> nth=0")
    page.wait_for_selector("#worklist[data-ready=yes]")


def test_a_script_that_came_into_a_page_unescaped_does_not_run(browser, served):
    page = browser.new_page()
    enter(page, served[1], "vera")
    page.click("tr[data-study='1'] .open")
    page.wait_for_selector(".viewer[data-ready=yes]")
    assert page.locator("header script").count() == 1
    assert page.title() != "hacked"


def test_the_page_of_a_study_fits_a_phone(browser, served):
    page = browser.new_page(viewport={"width": 390, "height": 800})
    enter(page, served[1], "otto")
    page.goto(f"{served[1]}studies/2")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.title() != "hacked"
