"""The modules of this package that a bundle brings along, copied so that they import one another in its ``scripts``."""

import ast
import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from kicc_ml.core.files import write_text

PACKAGE, SCRIPTS = "kicc_ml", "scripts"
IMPORT = re.compile(rf"^(\s*(?:from|import) ){PACKAGE}\.", re.MULTILINE)
ORIGIN = "# Part of kicc_ml, Apache-2.0; copied into this bundle, so that it predicts without that package.\n"


def copied_name(target: str) -> str:
    """Return the name that a class, function or module of this package has in a bundle; that of any other stays."""
    return f"{SCRIPTS}.{target.removeprefix(PACKAGE + '.')}" if target.startswith(f"{PACKAGE}.") else target


def copy_modules(names: Iterable[str], bundle: Path) -> None:
    """Copy modules of this package, and those that they import, into the folder ``scripts`` of a bundle.

    Args:
        names: the full names of the modules.
        bundle: the folder of the bundle.
    """
    for name, source in find_modules(names).items():
        path = (bundle / copied_name(name).replace(".", "/")).with_suffix(".py")
        write_text(path, ORIGIN + IMPORT.sub(rf"\1{SCRIPTS}.", source))
        for folder in list(path.relative_to(bundle).parents)[:-1]:
            (bundle / folder / "__init__.py").touch()


def find_modules(names: Iterable[str]) -> dict[str, str]:
    """Find the source text of modules of this package, and of all that are imported with them, by full name."""
    found: dict[str, str] = {}
    todo = list(names)
    while todo:
        if (name := todo.pop()) not in found:
            spec = find_spec(name)
            assert spec is not None, name
            found[name] = Path(str(spec.origin)).read_text(encoding="utf-8")
            todo += _imported(found[name])
    return found


def _imported(source: str) -> list[str]:
    """List the modules of this package that a module imports outside of its functions."""
    imports = [node for node in ast.parse(source).body if isinstance(node, ast.ImportFrom)]
    return [str(node.module) for node in imports if str(node.module).startswith(f"{PACKAGE}.")]
