"""The tests keep to their own house: what several of them use lies in tests/support."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent


def imported_modules(path: Path) -> Iterator[str]:
    """Full names of all that a file imports, at any depth."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{one.name}" for one in node.names)


def test_nothing_is_imported_from_a_test_module_or_a_conftest():
    wrong = [
        f"{path.relative_to(TESTS)} imports {name}"
        for path in sorted(TESTS.rglob("*.py"))
        for name in imported_modules(path)
        if name.startswith("tests.") and any(part.startswith(("test_", "conftest")) for part in name.split("."))
    ]
    assert wrong == []
