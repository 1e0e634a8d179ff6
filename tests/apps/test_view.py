"""``kicc-ml view`` opens the list of patients, and says nothing but where it lies."""

from pathlib import Path

import pytest

from kicc_ml.apps import cli_runs
from tests.support.loopback_pacs import wait_until

OPENER = """#!/bin/sh
echo "xdg-open: no method available for opening '$1'" >&2
echo "www-browser: not found"
echo "$1" > {seen}.part && mv {seen}.part {seen}
exit 3
"""


def test_complaints_of_a_machine_without_a_desktop_are_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
):
    (opener := tmp_path / "xdg-open").write_text(OPENER.format(seen=tmp_path / "seen"))
    opener.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (listing := tmp_path / "index.html").write_text("<p>")
    monkeypatch.setattr("kicc_ml.clinic.new_scan.list_patients", lambda _: listing)
    cli_runs.view(tmp_path)
    wait_until((tmp_path / "seen").exists)
    assert (tmp_path / "seen").read_text() == f"{listing.as_uri()}\n"
    assert capfd.readouterr() == (f"patients: {listing}\n", "")
