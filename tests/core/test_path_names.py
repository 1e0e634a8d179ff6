"""Foreign names that become part of a path."""

import os
import unicodedata
from pathlib import Path

import pytest

from kicc_ml.core.errors import UserError
from kicc_ml.core.path_names import (
    check_distinct,
    check_path_name,
    make_distinct_path_names,
    make_path_name,
    resolve_subfolder,
)
from tests.support.folder_names import HOSTILE, PLAIN


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_could_lead_elsewhere_is_refused_with_the_reason(name: str):
    with pytest.raises(UserError, match=r"the case id .* cannot be the name of a folder: it "):
        check_path_name(name, "the case id")


@pytest.mark.parametrize("name", PLAIN)
def test_ordinary_names_of_any_language_pass_unchanged_and_can_be_made(name: str, tmp_path: Path):
    folder = resolve_subfolder(tmp_path, check_path_name(name, "the case id"), "the case id")
    folder.mkdir()
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("text", [*HOSTILE, *PLAIN, "CON", "nul.txt", "-", "???", "서울" * 100])
def test_a_made_name_is_always_one_new_folder(text: str, tmp_path: Path):
    name = make_path_name(text)
    (tmp_path / name).mkdir()
    assert os.listdir(tmp_path) == [name]
    assert check_path_name(name, "it") == name
    assert make_path_name(text) == name


def test_names_of_hospitals_that_a_file_name_can_hold_stay_as_they_are():
    assert make_path_name("daegu-1") == "daegu-1"
    assert make_path_name("서울 병원") == "서울-병원"


def test_long_names_that_begin_alike_stay_apart():
    assert make_path_name("a" * 200 + "b") != make_path_name("a" * 200 + "c")


def test_names_of_files_made_from_several_texts_are_distinct_on_any_disk():
    texts = ["a b", "a-b", "A-B", "a/b", unicodedata.normalize("NFD", "서울"), "서울", "x" * 300, "x" * 301]
    names = make_distinct_path_names(texts)
    assert list(names) == texts
    assert names["a b"] == "a-b"
    check_distinct(names.values(), "names")
    assert len(set(names.values())) == len(texts)
    for name in names.values():
        check_path_name(name, "it")


@pytest.mark.parametrize(
    "pair", [("Seoul", "seoul"), (unicodedata.normalize("NFD", "서울"), "서울"), ("straße", "STRASSE")]
)
def test_names_that_some_disks_take_for_one_are_refused_together(pair: tuple[str, str]):
    with pytest.raises(UserError, match="would be one folder on some disks"):
        check_distinct(pair, "hospitals")


def test_a_link_out_of_the_results_is_refused(tmp_path: Path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a").symlink_to(tmp_path)
    with pytest.raises(UserError, match="leads out of"):
        resolve_subfolder(tmp_path / "results", "a", "the case id")
