"""``kicc-ml serve``: what is wrong is one sentence before anything listens."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from kicc_ml.apps import cli_serve
from kicc_ml.apps.cli import app
from kicc_ml.apps.site_file import read_site_file
from kicc_ml.core.errors import UserError
from tests.support.commands import KICC_ML, ROOT, refused, run
from tests.support.loopback_pacs import find_free_port


def test_without_its_libraries_it_says_how_to_install_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cli_serve, "LIBRARIES", ("pynetdicom", "no_such_library", "neither_this_one"))
    result = CliRunner().invoke(app, ["serve", "--run", "run", "--config", "site.yaml"])
    assert isinstance(result.exception, UserError)
    assert "needs no_such_library, neither_this_one;" in str(result.exception)
    assert "kicc_ml[serve]" in str(result.exception)


@pytest.mark.slow
def test_a_run_that_is_not_there_ends_the_command_with_its_sentence(tmp_path: Path):
    config = tmp_path / "site.yaml"
    config.write_text(f"folder: node\ndicom: {{senders: [A], port: {find_free_port()}}}\nweb: {{port: 0}}\n")
    said = refused(run(*KICC_ML, "serve", "--run", tmp_path / "none", "--config", config))
    assert str(tmp_path / "none") in said


def test_the_page_of_the_node_lists_every_key_with_its_default(tmp_path: Path):
    page = (ROOT / "docs" / "hospital-node.md").read_text(encoding="utf-8")
    example = page.split("## site.yaml\n")[1].split("```yaml\n")[1].split("```")[0]
    (tmp_path / "full.yaml").write_text(example, encoding="utf-8")
    (tmp_path / "least.yaml").write_text("folder: /var/lib/kicc-ml\ndicom: {senders: [SCANNER, PACS]}\n")
    assert read_site_file(tmp_path / "full.yaml") == read_site_file(tmp_path / "least.yaml")
    keys = {line.split(":")[0].strip() for line in example.splitlines()}
    settings = read_site_file(tmp_path / "least.yaml")
    for section, values in vars(settings).items():
        assert section in keys
        assert set(getattr(values, "__dataclass_fields__", ())) <= keys


def test_the_first_example_of_the_page_is_whole_with_page_and_users(tmp_path: Path):
    page = (ROOT / "docs" / "hospital-node.md").read_text(encoding="utf-8")
    (tmp_path / "site.yaml").write_text(page.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    settings = read_site_file(tmp_path / "site.yaml")
    assert settings.identified
    assert (settings.web.port, settings.web.users) == (8080, tmp_path / "users.yaml")
