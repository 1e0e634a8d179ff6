"""The tests keep to their own house: what several of them use lies in tests/support."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
#: Private names of others that have no public one: how a forked child ends (Python), what the bar of a training
#: overrides and where a training keeps its device (Lightning), what a setting calls (Hydra), how a connection is cut
#: (pynetdicom).
OF_OTHERS = {
    *("_exit", "_run_exitfuncs", "_shutdown"),
    *("_trainer", "_get_train_description", "_root_device", "_target_"),
    *("_average_model", "_update_metrics", "_shutdown_socket"),
}


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


def private_names(path: Path) -> Iterator[str]:
    """Private members that a file takes from another: ``other._name``, a patched ``"_name"``, an imported ``_name``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and getattr(node.value, "id", "") != "self":
            yield f"{path.relative_to(TESTS)}:{node.lineno} {node.attr}"
        elif isinstance(node, ast.ImportFrom):
            yield from (
                f"{path.relative_to(TESTS)}:{node.lineno} {one.name}" for one in node.names if is_private(one.name)
            )
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "setattr":
            texts = [one.value for one in node.args[:2] if isinstance(one, ast.Constant) and isinstance(one.value, str)]
            yield from (
                f"{path.relative_to(TESTS)}:{node.lineno} {text}"
                for text in texts
                if is_private(text.rpartition(".")[2])
            )


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in OF_OTHERS


def test_no_test_looks_at_a_private_member():
    assert [name for path in sorted(TESTS.rglob("*.py")) for name in private_names(path)] == []
