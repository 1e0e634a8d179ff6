"""Run the notebooks of docs/tutorials and keep what they print and draw.

python docs/site/run_tutorials.py [--out DIR] [NAME ...]

Each runs in an empty folder of its own. What a command writes to standard error, such as progress bars, is not kept.
"""

import argparse
import os
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
TUTORIALS = Path(__file__).resolve().parents[1] / "tutorials"


def run(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run a notebook in a folder; its outputs are those of this run. Raises CellExecutionError where a cell fails."""
    commands = str(Path(sys.executable).parent)  # kicc-ml of this environment
    environment = os.environ | {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"}
    environment |= {
        name: str(folder / ".user" / name)
        for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "KICC_KEYS", "MPLCONFIGDIR")
    }
    client = NotebookClient(
        notebook,
        timeout=None,
        startup_timeout=600,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=environment)


def keep_what_readers_need(notebook: nbformat.NotebookNode) -> None:
    """Drop standard error, and what differs from run to run without a meaning."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # clock times
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
        for output in cell.get("outputs", []):
            if "text" in output:
                output.text = COLOURS.sub("", output.text)
    notebook.metadata.language_info = {"name": "python"}  # without its version


def main() -> None:
    """Run the notebooks that are named, or all."""
    parser = argparse.ArgumentParser(description="Run the notebooks of docs/tutorials.")
    parser.add_argument("names", nargs="*", help="notebooks without .ipynb (default: all)")
    parser.add_argument("--out", type=Path, default=TUTORIALS, help="where they are written (default: in their place)")
    asked = parser.parse_args()
    for path in [TUTORIALS / f"{name}.ipynb" for name in asked.names] or sorted(TUTORIALS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        with TemporaryDirectory() as folder:
            run(notebook, Path(folder))
        keep_what_readers_need(notebook)
        nbformat.write(notebook, asked.out / path.name)
        print(path.name)


if __name__ == "__main__":
    main()
