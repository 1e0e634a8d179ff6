"""The audit of what is installed: what can be mended fails it, the rest is named, and no audit is not a clean one."""

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / ".ci" / "audit.py"


def audited(folder: Path, printed: str, status: int) -> subprocess.CompletedProcess:
    """The script run beside a pip-audit that prints so much."""
    (folder / "report").write_text(printed)
    stand_in = folder / "pip-audit"
    stand_in.write_text(f"#!/bin/sh\ncat {folder}/report\nexit {status}\n")
    stand_in.chmod(0o755)
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run([sys.executable, SCRIPT], env=environment, capture_output=True, text=True, check=False)


def report(*fixes: list[str]) -> str:
    vulnerabilities = [{"id": f"CVE-{number}", "fix_versions": fix} for number, fix in enumerate(fixes)]
    packages = [{"name": "pillow", "version": "12.0", "vulns": vulnerabilities}, {"name": "own", "skip_reason": "?"}]
    return json.dumps({"dependencies": packages})


def test_what_a_newer_version_mends_fails(tmp_path: Path):
    said = audited(tmp_path, report(["13.0"], []), 1)
    assert said.returncode == 1
    assert "pillow 12.0: CVE-0, fixed in 13.0\npillow 12.0: CVE-1, no fix\n" in said.stdout


def test_what_has_no_fix_is_named_and_does_not_fail(tmp_path: Path):
    said = audited(tmp_path, report([]), 1)
    assert (said.returncode, said.stdout.splitlines()[0]) == (0, "pillow 12.0: CVE-0, no fix")


def test_a_clean_audit_says_of_how_many_packages(tmp_path: Path):
    said = audited(tmp_path, report(), 0)
    assert (said.returncode, said.stdout) == (0, "pip-audit: 1 packages audited, 1 are in no database\n")


def test_a_database_that_is_not_reached_is_one_line_and_no_clean_audit(tmp_path: Path):
    skipped = json.dumps({"dependencies": [{"name": "pillow", "skip_reason": "not found on PyPI"}]})
    for printed, status in (("", 1), (skipped, 0), ("Traceback", 1)):
        said = audited(tmp_path, printed, status)
        assert (said.returncode, said.stdout.count("\n")) == (0, 1)
        assert "nothing was audited" in said.stdout
