"""What mkdocs cannot read as it lies: pages made from the code, and pages from other folders of the repository."""

import re
from pathlib import Path
from posixpath import normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
#: Documents outside of docs/ that the site has, and the pages that show them.
OUTSIDE = {
    "kicc_ml/evaluation/README.md": "statistics.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "README.md": "index.md",
}
DOWNLOAD = (
    "This page is a notebook: [download it]({}), put it into an empty folder and open it with Jupyter "
    "(`pip install jupyterlab`). "
    "Below each cell stands what it printed and drew."
)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)")


def write_reasons() -> str:
    """Write the table of reasons and remedies."""
    from kicc_ml.dicom.series.reasons import REASONS
    from kicc_ml.dicom.series.remedies import REMEDIES

    rows = [f"| `{code}` | {meaning} | {REMEDIES.get(code, '')} |" for code, meaning in REASONS.items()]
    return "\n".join(
        [
            "# Reasons and remedies\n",
            "Why a file or series was refused, repaired or noted, and what its sender can do. Where the last column is",
            "empty, nothing need be done: it was left out or repaired, or it is only a note.",
            "[Refused and repaired series](../refusal.md) says more.\n",
            "| reason | meaning | remedy |",
            "|---|---|---|",
            *rows,
        ]
    )


def write_command_line() -> str:
    """Write the help of every command, as typer has it."""
    import typer
    from typer.cli import get_docs_for_click

    from kicc_ml.apps.cli import app

    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="kicc-ml")
    intro = "# Command line\n\n`kicc-ml train` and `kicc-ml evaluate` take settings: [settings in full](settings.md)."
    return text.replace("# `kicc-ml`", intro, 1)


def write_settings() -> str:
    """Write every file of settings as it lies, with its comments."""
    parts = [
        "# Settings in full\n",
        "Every setting with its default, as the files in `configs/` state them.",
        "`python train.py key=value` changes one, `group=NAME` takes another file of a group.",
        "[Settings of a training](../settings.md) explains those that are needed most.",
    ]
    configs = ROOT / "configs"
    for file in sorted(configs.glob("*.yaml"), reverse=True):
        parts.append(f"\n## {file.name}\n\n```yaml\n{file.read_text(encoding='utf-8').strip()}\n```")
    for group in sorted(path for path in configs.iterdir() if path.is_dir()):
        parts.append(f"\n## {group.name}")
        for file in sorted(group.rglob("*.yaml")):
            name = file.relative_to(group).with_suffix("").as_posix()
            parts.append(f"\n### {group.name}={name}\n\n```yaml\n{file.read_text(encoding='utf-8').strip()}\n```")
    return "\n".join(parts)


def write_python() -> str:
    """Write a page that mkdocstrings fills: each name of the Python interface."""
    import kicc_ml

    names = [name for name in kicc_ml.__all__ if name != "__version__"]
    entries = [f"::: {getattr(kicc_ml, name).__module__}.{name}" for name in names]
    intro = "# Python\n\nThese names of `kicc_ml` stay stable; each is loaded when it is first used.\n"
    return "\n\n".join([intro, *entries])


GENERATED = {
    "reference/python.md": write_python,
    "reference/command-line.md": write_command_line,
    "reference/settings.md": write_settings,
    "reference/reasons.md": write_reasons,
}


def write_tutorial(notebook: Path) -> tuple[str, dict[str, bytes]]:
    """Write a notebook as Markdown, with the outputs that are stored in it; also returns its pictures by file name."""
    from nbconvert import MarkdownExporter

    exporter = MarkdownExporter()
    text, resources = exporter.from_filename(str(notebook), resources={"unique_key": notebook.stem})
    text = re.sub(r"^%%bash\n", "", text, flags=re.MULTILINE)  # a page is read, not run
    text = re.sub(r"^!\[png\]", "![what the code above draws]", text, flags=re.MULTILINE)
    # A link to another notebook leads to its page; the notebook itself lies beside the page.
    text = re.sub(r"\]\(([\w-]+)\.ipynb\)", r"](\1.md)", text)
    title, _, rest = text.partition("\n")
    return f"{title}\n\n{DOWNLOAD.format(notebook.name)}\n{rest}", resources["outputs"]


def add_tutorials(files: Files, config: MkDocsConfig) -> None:
    """Add a page for each notebook, in place of the notebook itself."""
    for notebook in sorted((ROOT / "docs" / "tutorials").glob("*.ipynb")):
        text, pictures = write_tutorial(notebook)
        files.append(File.generated(config, f"tutorials/{notebook.stem}.md", content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, f"tutorials/{name}", content=content))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that do not lie in docs/, and those made from notebooks."""
    add_tutorials(files, config)
    for page, write in GENERATED.items():
        files.append(File.generated(config, page, content=write()))
    for document, page in OUTSIDE.items():
        if page != "index.md":
            files.append(File.generated(config, page, abs_src_path=str(ROOT / document)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between documents of the repository into links between pages; what the site has not is text."""
    lies_at = next((path for path, uri in OUTSIDE.items() if uri == page.file.src_uri), f"docs/{page.file.src_uri}")

    def turn(found: re.Match[str]) -> str:
        mark, text, target, anchor = found.groups("")
        if not target or "://" in target:
            return found[0]
        document = normpath(f"{Path(lies_at).parent.as_posix()}/{target}")
        uri = OUTSIDE.get(document, document.removeprefix("docs/"))
        if (ROOT / "docs" / uri).suffix == ".ipynb":
            return found[0]
        if files.get_file_from_path(uri) is None:
            return text
        return f"{mark}[{text}]({relpath(uri, Path(page.file.src_uri).parent.as_posix())}{anchor})"

    return LINK.sub(turn, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Take the roles away that docstrings have for other tools: ``:func:`name``` is ``name``."""
    return re.sub(r":(?:func|class|data|mod|meth|attr):(?=<code>)", "", html)
