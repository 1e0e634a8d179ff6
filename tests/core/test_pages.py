"""Every page is made by one set-up: text stays text, and a name that nobody fills is an error."""

import re
from pathlib import Path

import jinja2
import pytest

import kicc_ml
from kicc_ml.core.pages import read_template

PACKAGE = Path(kicc_ml.__file__).parent
TEMPLATES = sorted(path for path in PACKAGE.rglob("*.html.j2") if path.name != "base.html.j2")


def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str, **helpers) -> jinja2.Template:
    """A page of a room that has the one template ``page.html.j2``."""
    room = tmp_path / f"room_of_{tmp_path.name}"  # a module is imported once under its name
    room.mkdir()
    (room / "__init__.py").touch()
    (room / "page.html.j2").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return read_template(room.name, "page.html.j2", **helpers)


WHOLE = """{% extends "base.html.j2" %}
{% block title %}{{ title }}{% endblock %}
{% block style %}p { color: red; }{% endblock %}
{% block body %}<p>{{ title|twice }}{{ once() }}</p>{% endblock %}
"""


def test_what_is_put_in_is_text_also_through_filters_and_functions(monkeypatch, tmp_path):
    page = made(
        monkeypatch, tmp_path, WHOLE, filters={"twice": lambda text: 2 * text}, functions={"once": lambda: "<i>"}
    ).render(title="<b>\u202e")
    assert page.startswith("<!doctype html>")
    assert "<p>&lt;b&gt;" in page
    assert "&lt;i&gt;</p>" in page
    assert "\u202e" not in page
    assert "<title>&lt;b&gt;" in page


def test_a_name_that_nobody_fills_is_an_error_and_no_gap(monkeypatch, tmp_path):
    with pytest.raises(jinja2.UndefinedError, match="title"):
        made(monkeypatch, tmp_path, "{{ title }}").render()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_every_page_has_the_head_that_all_share(template: Path):
    source = template.read_text(encoding="utf-8")
    parent = re.match(r'{% extends "(.+?)" %}', source)
    assert parent is not None
    if parent[1] != "base.html.j2":  # several pages of a room share more than the head
        assert template.with_name(parent[1]).read_text(encoding="utf-8").startswith('{% extends "base.html.j2" %}')
    assert not re.search("<head>|<style>|<html", source)


def test_no_other_module_sets_up_jinja():
    setting_up = [path for path in PACKAGE.rglob("*.py") if "jinja2.Environment(" in path.read_text(encoding="utf-8")]
    assert [path.relative_to(PACKAGE).as_posix() for path in setting_up] == ["core/pages.py"]
