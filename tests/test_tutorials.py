"""The notebooks of docs/tutorials run from an empty folder, and what is stored of them fits the site."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
#: A stored notebook is a page: text, a few small pictures.
MOST_BYTES = 300_000


def read(notebook: Path) -> dict[str, Any]:
    return json.loads(notebook.read_text(encoding="utf-8"))


def name(path: Path) -> str:
    return path.stem


def outputs_of(notebook: Path) -> list[dict[str, Any]]:
    return [output for cell in read(notebook)["cells"] for output in cell.get("outputs", [])]


def text_of(output: dict[str, Any]) -> str:
    """All that an output says in letters: what was printed, shown or raised."""
    said = [output.get("text", ""), *output.get("data", {}).values(), *output.get("traceback", [])]
    return "".join("".join(one) for one in said if not str(one).startswith("iVBOR"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name)
def test_what_is_stored_of_a_notebook_was_printed_by_a_whole_run_and_names_no_place_of_a_machine(notebook: Path):
    code = [cell for cell in read(notebook)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    for output in outputs_of(notebook):
        assert output["output_type"] != "error"
        assert re.findall(r"/(?:home|root|tmp|usr|work|var|Users)/\S*|Traceback|\berror:", text_of(output)) == []
    assert notebook.stat().st_size < MOST_BYTES


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name)
def test_every_link_of_a_notebook_leads_to_a_file(notebook: Path):
    told = "".join("".join(cell["source"]) for cell in read(notebook)["cells"] if cell["cell_type"] == "markdown")
    links = re.findall(r"\]\(([^)#]+)", told)
    assert links
    assert [link for link in links if "://" not in link and not (notebook.parent / link).is_file()] == []


def test_every_notebook_has_its_page_in_the_menu():
    settings = yaml.safe_load((ROOT / "docs" / "site" / "mkdocs.yml").read_text(encoding="utf-8"))
    (tutorials,) = (part["Tutorials"] for part in settings["nav"] if "Tutorials" in part)
    pages = [page for entry in tutorials for page in entry.values()]
    assert sorted(pages) == [f"tutorials/{notebook.stem}.md" for notebook in NOTEBOOKS]


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name)
def test_a_notebook_runs_to_its_end_in_an_empty_folder(notebook: Path, tmp_path: Path):
    pytest.importorskip("nbclient", reason="notebooks are run by nbclient (pip install 'kicc_ml[dev]')")
    tool = ROOT / "docs" / "site" / "run_tutorials.py"
    command = [sys.executable, str(tool), "--out", str(tmp_path), notebook.stem]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=1200)
    assert done.returncode == 0, done.stderr[-4000:]
    before, after = outputs_of(notebook), outputs_of(tmp_path / notebook.name)
    assert [kind_of(output) for output in after] == [kind_of(output) for output in before]


def kind_of(output: dict[str, Any]) -> str:
    return output.get("name", "") or "+".join(sorted(output.get("data", {})))
