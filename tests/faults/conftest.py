"""How often commands are disturbed, and a table of what came of it."""

import os
from collections import Counter
from pathlib import Path

import pytest

#: ``full`` is what a release has to pass: kills, full disks and pairs of each command.
COUNTS = {"few": {"killed": 3, "full": 3, "pair": 2}, "full": {"killed": 20, "full": 10, "pair": 10}}


def counts() -> dict[str, int]:
    """``KICC_FAULTS``: few (default), full, or three numbers as 5/3/3."""
    asked = os.environ.get("KICC_FAULTS", "few")
    return COUNTS.get(asked) or dict(zip(COUNTS["few"], map(int, asked.split("/")), strict=True))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each command and moment."""
    if "fault" in metafunc.fixturenames:
        fault = metafunc.function.fault
        metafunc.parametrize("number", range(counts()[fault]))
        metafunc.parametrize("fault", [fault])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Command and fault by what came of it."""
    reports = [one for kind in ("passed", "failed") for one in terminalreporter.stats.get(kind, [])]
    found = Counter()
    for report in reports:
        if report.when == "call" and (told := dict(report.user_properties)).get("fault"):
            found[told["command"], told["fault"], told.get("outcome", "FAILED")] += 1
    if not found:
        return
    outcomes = ("equal", "too late", "told", "FAILED")
    terminalreporter.section("faults")
    terminalreporter.write_line(f"{'command':16}{'fault':8}" + "".join(f"{one:>10}" for one in outcomes))
    for command, fault in dict.fromkeys((command, fault) for command, fault, _ in found):
        row = "".join(f"{found[command, fault, one]:10}" for one in outcomes)
        terminalreporter.write_line(f"{command:16}{fault:8}{row}")


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")
