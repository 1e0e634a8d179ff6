"""Helpers of test_scan and test_scan_in_processes."""

from collections.abc import Callable
from pathlib import Path

KEY = b"key of the tests"

Writer = Callable[..., list[Path]]
