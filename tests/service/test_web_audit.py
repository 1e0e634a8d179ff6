"""The audit log has what was done and refused as whole lines, and nobody fills the disk with it."""

import json
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from kicc_ml.core.errors import TargetError
from kicc_ml.service.audit import LOGIN, RESTRICTED, AuditLog
from kicc_ml.service.refusals import MAX_ADDRESSES, Refusals
from kicc_ml.service.web import study
from kicc_ml.service.web.sessions import MOST_OF_NAME
from tests.support.web_node import WebNode, find_form_token, make_web_node


@pytest.fixture
def node(tmp_path: Path) -> WebNode:
    return make_web_node(tmp_path)


def read_outcomes(node: WebNode, code: str) -> list[str]:
    """The outcomes of the events of a code: 0 done, 4 not done."""
    stated = [json.loads(line)["EventIdentification"] for line in node.audit.splitlines()]
    return [one["EventOutcomeIndicator"] for one in stated if one["EventID"]["csd-code"] == code]


@pytest.mark.parametrize("fault", [False, True])
def test_a_study_that_is_not_deleted_after_all_is_noted_as_such(
    node: WebNode, monkeypatch: pytest.MonkeyPatch, fault: bool
):
    number = node.add_study("1.2.3", reason="a head")

    def fail(*_: Any) -> bool:
        if fault:
            raise ZeroDivisionError
        return False

    monkeypatch.setattr(study, "remove_study", fail)
    client = node.log_in("otto")
    form = {"form_token": find_form_token(client.get(f"/studies/{number}").text), "sure": "yes"}
    with pytest.raises(ZeroDivisionError) if fault else nullcontext():
        assert client.post(f"/studies/{number}/delete", data=form).status_code == 409
    assert read_outcomes(node, "110105") == ["0", "4"]


def test_a_line_that_does_not_fit_the_disk_is_taken_back_and_half_a_line_of_a_lost_machine_stays_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    log = AuditLog(tmp_path / "audit.jsonl")
    log.note(LOGIN, "vera", "10.0.0.1")
    before, write = log.path.read_bytes(), os.write
    monkeypatch.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:20]))
    with pytest.raises(TargetError, match="the disk is full"):
        log.note(LOGIN, "otto", "10.0.0.1")
    assert log.path.read_bytes() == before
    monkeypatch.undo()
    log.path.write_bytes(before + b'{"Event')
    log.note(LOGIN, "otto", "10.0.0.1")
    first, half, last = log.path.read_text().splitlines()
    users = [json.loads(line)["ActiveParticipant"][0]["UserID"] for line in (first, last)]
    assert (users, half) == (["vera", "otto"], '{"Event')


def test_refusals_of_an_address_are_a_line_a_minute_with_their_number(tmp_path: Path):
    now, log = [0.0], AuditLog(tmp_path / "audit.jsonl")
    refusals = Refusals(log, lambda: now[0])
    for now[0] in range(50):
        refusals.note(RESTRICTED, "", "10.0.0.1")
        refusals.note(RESTRICTED, "", "10.0.0.2")
    assert len(log.path.read_text().splitlines()) == 2
    now[0] = 61
    refusals.note(RESTRICTED, "", "10.0.0.1")
    assert log.path.read_text().count("49 further refusals of this address within 60 s") == 2
    assert len(log.path.read_text().splitlines()) == 5


def test_refusals_of_very_many_addresses_are_few_lines(tmp_path: Path):
    log = AuditLog(tmp_path / "audit.jsonl")
    refusals = Refusals(log, lambda: 0.0)
    for number in range(MAX_ADDRESSES + 500):
        refusals.note(RESTRICTED, "", f"10.0.{number >> 8}.{number & 255}")
    assert len(log.path.read_text().splitlines()) == MAX_ADDRESSES + 1


def test_forms_that_are_none_of_ours_are_no_line_each(node: WebNode):
    client = node.log_in()
    for _ in range(20):
        assert client.post("/login", data={"user": "vera"}).status_code == 403
    assert len(node.audit.splitlines()) == 1


@pytest.mark.parametrize("address", ["/studies.json", "/dicom-web/studies"])
def test_a_wrong_token_is_noted(node: WebNode, address: str):
    method = "POST" if "dicom" in address else "GET"
    headers = {"Authorization": "Bearer wrong"}
    for _ in range(20):
        assert node.log_in().request(method, address, headers=headers).status_code == 401
    (line,) = node.audit.splitlines()
    assert json.loads(line)["EventIdentification"]["EventTypeCode"][0]["csd-code"] == "110122"
    assert read_outcomes(node, "110114") == ["4"]


def test_tries_beyond_the_number_that_is_allowed_are_no_line_each(node: WebNode):
    client = node.log_in()
    form = {"form_token": find_form_token(client.get("/login").text), "user": "vera", "password": "wrong"}
    for _ in range(MOST_OF_NAME + 20):
        client.post("/login", data=form)
    assert len(node.audit.splitlines()) == MOST_OF_NAME + 1
