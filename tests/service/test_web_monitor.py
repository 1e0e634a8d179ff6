"""Monitoring sees whether the node lives and what lies in its queue."""

import re
from pathlib import Path

import pytest

from tests.support.web_node import TOKEN, WebNode, make_result, make_web_node


@pytest.fixture
def node(tmp_path: Path) -> WebNode:
    return make_web_node(tmp_path)


def test_health_is_for_everybody_and_tells_no_more_than_it_has_to(node: WebNode):
    assert set(node.log_in().get("/health").json()) == {"status", "room"}


def test_a_node_whose_database_is_gone_is_not_healthy(node: WebNode):
    node.queue.database.close()
    assert node.log_in().get("/health").status_code == 503


def test_metrics_are_text_of_prometheus_with_the_numbers_of_the_queue(node: WebNode):
    sent = {"1.9": "a/dicom/r.dcm", "1.10": "a/dicom/s.dcm"}
    node.add_study("1.1", make_result("a", 3, objects=sent), deliver=True)
    node.add_study("1.2", reason="a head")
    answer = node.log_in().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r'[a-z_]+(\{[a-z]+="[a-z]+"\})? [0-9.]+', line) for line in lines)
    values = {name: float(value) for name, value in (line.split() for line in lines)}
    assert values['kicc_studies{state="delivering"}'] == 1
    assert values['kicc_studies{state="refused"}'] == 1
    assert values['kicc_studies{state="done"}'] == 0
    assert values["kicc_undelivered_objects"] == 2
    assert values["kicc_free_disk_bytes"] > 0


def test_the_wait_of_a_study_is_measured(node: WebNode):
    study = node.add_study("1.1", reason="out of memory", crashed=True)
    node.queue.retry(study)
    with node.queue.database.transaction() as connection:
        connection.execute("UPDATE study SET changed = changed - 100")
    text = node.log_in("vera").get("/metrics").text
    (waited,) = re.findall(r"^kicc_longest_wait_seconds (\S+)$", text, re.MULTILINE)
    assert 100 <= float(waited) < 1000
