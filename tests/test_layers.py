"""The line of CONTRIBUTING, read off the import statements: down it, never up or sideways."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "kicc_ml"
SCRIPTS = (ROOT / "train.py", ROOT / "evaluate.py")

#: What each room may import, itself aside. The scripts and ``cli`` stand at the end of the line.
PLAIN = {"records", "pseudonym", "progress"}
READERS = {"dicom", "severity", "montage", "overlay", "synthetic"}
MIDDLE = {"data", "models", "evaluation"}
MAY_IMPORT = {
    **{"records": set(), "pseudonym": set(), "progress": set(), "launch": {"records"}},
    **{room: PLAIN for room in READERS},
    "overlay": PLAIN | {"montage"},
    "image_features": PLAIN | {"data"},
    "trust": PLAIN | {"image_features"},
    "deliver": PLAIN | {"severity", "montage", "overlay", "dicom", "page", "trust"},
    "page": PLAIN | {"severity", "montage"},
    **{room: PLAIN | READERS for room in MIDDLE},
    "plan": PLAIN | MIDDLE,
    "runs": PLAIN | READERS | MIDDLE | {"plan"},
    "inference": PLAIN | READERS | MIDDLE,
    "predict": PLAIN | READERS | MIDDLE | {"runs", "inference", "page", "image_features", "deliver"},
    "risk": PLAIN | MIDDLE | {"runs"},
    "new_patient": PLAIN | MIDDLE | {"runs", "risk"},
    "film_scores": PLAIN | MIDDLE | {"runs"},
    "history": PLAIN | {"dicom", "runs"},
    "held_out": PLAIN | READERS | MIDDLE | {"runs", "predict", "page", "deliver", "risk"},
    "clinic": PLAIN
    | READERS
    | MIDDLE
    | {"runs", "predict", "page", "image_features", "trust", "deliver", "held_out", "history", "risk", "new_patient"}
    | {"film_scores"},
    "predict_outcome": PLAIN | MIDDLE | {"runs"},
    "predict_severity": PLAIN | MIDDLE | {"runs", "predict_outcome"},
    "extent": PLAIN | MIDDLE | {"runs", "predict"},
    "cli_runs": PLAIN
    | READERS
    | MIDDLE
    | {"runs", "inference", "predict", "launch", "clinic", "held_out", "history", "risk", "film_scores"},
    "cli": PLAIN | READERS | MIDDLE | {"runs", "launch", "cli_runs"},
    "train": PLAIN | READERS | MIDDLE | {"plan", "runs", "predict", "predict_outcome", "extent", "launch", "evaluate"},
    "benchmark": PLAIN | READERS | MIDDLE | {"runs", "study", "pictures"},
    "pictures": PLAIN | READERS | MIDDLE | {"runs"},
    "study": PLAIN | READERS | MIDDLE | {"runs"},
    "evaluate": PLAIN
    | READERS
    | MIDDLE
    | {"runs", "predict", "launch", "page", "trust", "deliver", "held_out", "risk", "benchmark", "study", "pictures"},
}
#: Narrower than the line: these two know neither images on disk nor hospitals.
KNOWS_NO_DICOM = ("models", "evaluation")

LIBRARY_ROOMS = {
    "hydra": {"launch", "train", "evaluate"},
    "omegaconf": {"launch", "train", "evaluate"},
    "pydicom": {"dicom", "synthetic"},
    "highdicom": {"dicom", "synthetic"},
    "SimpleITK": {"dicom", "synthetic"},
}


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "kicc_ml" else parts[0]


@cache
def imports_of(path: Path) -> tuple[str, ...]:
    """Modules a file imports, wherever in it; for ``from a import b`` both ``a`` and ``a.b``."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(names)


FILES = sorted(path for path in (*PACKAGE.rglob("*.py"), *SCRIPTS) if path.name != "__init__.py")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=named)
def test_imports_go_down_the_line_never_up_or_sideways(path: Path):
    room = room_of(path)
    inner = {
        name.split(".")[1] if name.startswith("kicc_ml.") else name.split(".")[0]
        for name in imports_of(path)
        if name.split(".")[0] in {"kicc_ml", "train", "evaluate"}
    }
    assert inner - {room} <= MAY_IMPORT[room]


@pytest.mark.parametrize("room", KNOWS_NO_DICOM)
def test_models_and_evaluation_know_nothing_of_dicom(room: str):
    names = {name for path in FILES if room_of(path) == room for name in imports_of(path)}
    assert not {name for name in names if name.startswith(("kicc_ml.dicom", "kicc_ml.synthetic"))}


@pytest.mark.parametrize("library", LIBRARY_ROOMS)
def test_a_library_with_a_border_stays_behind_it(library: str):
    rooms = {room_of(path) for path in FILES if any(name.split(".")[0] == library for name in imports_of(path))}
    assert rooms <= LIBRARY_ROOMS[library]


def test_every_package_file_is_empty_so_that_no_import_cycle_can_form():
    assert {named(path) for path in PACKAGE.rglob("__init__.py") if path.read_bytes().strip()} == set()


def test_every_import_is_absolute():
    relative = {
        named(path)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    }
    assert relative == set()


def test_every_room_has_its_place_on_the_line():
    assert {room_of(path) for path in FILES} == set(MAY_IMPORT)
