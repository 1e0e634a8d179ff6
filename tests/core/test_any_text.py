"""Names and texts of any kind: what examples leave out, drawn by hypothesis."""

import json
import re
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from kicc_ml.core.errors import UserError
from kicc_ml.core.path_names import (
    MAX_BYTES,
    check_distinct,
    check_path_name,
    find_name_fault,
    make_distinct_path_names,
    make_path_name,
)
from kicc_ml.core.pseudonym import make_pseudonym
from kicc_ml.core.received import parse_yaml, read_yaml
from kicc_ml.core.shown import (
    FORMULA_STARTS,
    escape_cell,
    escape_for_picture,
    escape_formulas,
    escape_markdown,
    format_json,
    is_control_character,
    make_link,
    make_printable,
    restore_cell,
    restore_formulas,
)
from kicc_ml.dicom.header.charsets import decode_text
from kicc_ml.dicom.header.dates import parse_date_time

#: Any text that Python can hold, lone surrogates among it, and text that is likely to act somewhere.
ANY_TEXT = st.text(st.characters()) | st.text("./\\:*?\"<>| -_=+@'\t\n\r\x1b\u202e\u200b\udcb0aA0é한con", max_size=12)
READABLE = st.text(st.characters(exclude_categories=["Cs"]))
#: Parts of YAML, so that more of what is drawn is nearly right.
YAML_PARTS = (
    *("!!int ", "!!float ", "!!bool ", "!!timestamp ", "!!binary ", "!!set ", "!!omap ", "!!pairs ", "!!null ", "!x "),
    *("a", "1", ".", "''", "0x", "0b", "-", "- ", ": ", "? ", "\n", " ", "[", "]", "{", "}", ",", "|", ">", "<<", "="),
    *("&a ", "*a", "2020-01-01", "0001-01-01 00:00:00+23:59", "1:60", "190:20:30", "~", "#", "%YAML 1.1\n---\n"),
)
YAML = st.lists(st.sampled_from(YAML_PARTS), max_size=8).map("".join)


@given(ANY_TEXT)
def test_a_name_made_of_any_text_may_be_the_name_of_a_folder_and_stays_the_same(text: str):
    name = make_path_name(text)
    assert check_path_name(name, "the name") == name
    assert not re.search(r"[\s/\\:*?\"<>|]", name)
    assert len(name.encode()) <= MAX_BYTES
    assert make_path_name(text) == name


@given(st.lists(ANY_TEXT, max_size=6, unique=True))
@example(["a-ca978112", "A", "a"])  # the first is what the third would be called beside the second
def test_names_of_several_texts_are_distinct_on_any_disk(texts: list[str]):
    names = make_distinct_path_names(texts)
    assert list(names) == texts
    assert len({name.casefold() for name in names.values()}) == len(texts)
    check_distinct(names.values(), "the name")


@given(ANY_TEXT)
def test_a_name_that_is_allowed_holds_nothing_that_acts_and_no_separator(name: str):
    if not find_name_fault(name):
        assert not any(is_control_character(character) for character in name)
        assert not set(name) & set("/\\\0")
        assert name.encode().decode() == name


@given(ANY_TEXT)
def test_shown_text_holds_nothing_that_acts_and_hides_nothing(text: str):
    for shown in (make_printable(text), escape_for_picture(text)):
        assert not any(is_control_character(character) for character in shown)
        assert shown.encode("utf-8") or not text
    if not any(is_control_character(character) for character in text):
        assert make_printable(text) == text


#: Signs that can be markup, and blanks.
MARKUP_SIGNS = st.text(alphabet="*_`~#-+=>!|[]()<>&\\\"':/.1 a\n\t", max_size=12)


@given(ANY_TEXT | MARKUP_SIGNS)
@example("1. x")
@example("# x")
@example("---")
@example("=")
@example("[x](y)")
@example("&lt;")
def test_text_in_markdown_is_the_same_text_and_no_markup(text: str):
    shown, said = escape_markdown(text), " ".join(make_printable(text, lines=True).split())
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    tokens = page.parse(f"- {shown}\n\n| a |\n| --- |\n| {shown} |\n")
    blocks = [token.type for token in tokens if token.nesting >= 0 and token.type != "inline"]
    paragraph = ["paragraph_open"] if said else []
    row = ["tr_open", "th_open", "tbody_open", "tr_open", "td_open"]
    assert blocks == ["bullet_list_open", "list_item_open", *paragraph, "table_open", "thead_open", *row]
    children = [token.children or [] for token in tokens if token.type == "inline"]
    assert {child.type for one in children for child in one} <= {"text"}
    shown_texts = ["".join(child.content for child in one) for one in children]
    assert [one for one in shown_texts if one] == [one for one in (said, "a", said) if one]


@given(st.recursive(READABLE | st.integers() | st.booleans() | st.none(), lambda one: st.lists(one, max_size=3)))
def test_json_for_a_terminal_holds_nothing_that_acts_and_reads_back_the_same(content: object):
    written = format_json(content)
    assert not any(is_control_character(character) for character in written if character != "\n")
    assert json.loads(written) == content


@given(ANY_TEXT)
def test_no_cell_of_a_table_is_a_formula_and_every_cell_reads_back_the_same(text: str):
    escaped = escape_cell(text)
    assert not escaped.startswith(FORMULA_STARTS)
    assert restore_cell(escaped) == text


@given(READABLE)
def test_a_table_is_no_formula_and_reads_back_the_same(text: str):
    table = pd.DataFrame({text: [text, "x"]})
    pd.testing.assert_frame_equal(restore_formulas(escape_formulas(table)), table)


@given(READABLE.filter(lambda text: "\0" not in text))
def test_a_link_to_any_name_is_a_relative_path_and_no_more(name: str):
    link = make_link(name)
    assert link.startswith("./")
    assert re.fullmatch(r"[A-Za-z0-9_.~/%-]*", link)


@given(YAML | READABLE)
@example("a: !!int ''")
@example("a: !!float ''")
@example("a: !!bool x")
@example("a: !!timestamp x")
def test_yaml_is_read_or_refused_with_an_error_that_is_expected(text: str):
    with suppress(yaml.YAMLError, ValueError):
        parse_yaml(text)


@given(
    st.binary(max_size=40),
    st.sampled_from(["", "ISO_IR 100", "ISO 2022 IR 149", "\\ISO 2022 IR 149", "ISO_IR 192", "x"]),
)
def test_bytes_of_any_charset_are_read_as_text(raw: bytes, charset: str):
    assert isinstance(decode_text(raw, charset), str)


@given(ANY_TEXT | st.text("0123456789.", max_size=9), ANY_TEXT | st.text("0123456789:+-. ", max_size=9))
def test_a_date_is_read_or_it_is_none(day: str, clock: str):
    found = parse_date_time(day, clock)
    assert found is None or found.year >= 1895


@given(
    st.lists(st.text(st.characters(exclude_characters="\x1f", codec="utf-8")), min_size=1, max_size=3),
    st.binary(min_size=1),
)
def test_a_pseudonym_is_twelve_digits_that_hold_nothing_of_the_identifier(identifier: list[str], key: bytes):
    assert re.fullmatch("[0-9a-f]{12}", make_pseudonym(key, *identifier))
    assert make_pseudonym(key, *identifier) != make_pseudonym(key, *identifier, "x")


@pytest.mark.parametrize("text", ["a: !!int ''", "a: !!bool x", "a: !!timestamp x"])
def test_a_value_that_is_not_what_its_tag_says_is_refused_in_one_sentence(text: str, tmp_path: Path):
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"config\.yaml cannot be read: .*; remove it"):
        read_yaml(tmp_path / "config.yaml", "remove it")
