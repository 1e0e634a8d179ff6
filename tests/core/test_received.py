"""YAML and JSON from elsewhere: plain values, or one sentence; never a long wait."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kicc_ml.core.errors import UserError
from kicc_ml.core.files import write_yaml
from kicc_ml.core.received import MAX_YAML_BYTES, parse_yaml_documents, read_json, read_json_object, read_yaml
from kicc_ml.runs.tables import read_numbers

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
BAD_YAML = {
    "aliases": BOMB.encode(),
    "a merge key": b"a: &a {x: 1}\nb: {<<: *a}\n",
    "a list within itself": b"a: &a [*a]\n",
    "nested deeply": b"a: " + b"[" * 5000 + b"]" * 5000,
    "nested deeply in blocks": b"".join(b" " * depth + b"a:\n" for depth in range(300)),
    "too large": b"a: " + b"x" * MAX_YAML_BYTES,
    "not UTF-8": "a: 서울".encode("euc-kr"),
    "cut off": b"a: [1, 2",
    "a NUL": b"a: \x00",
    "an object of Python": b"a: !!python/object/apply:os.getcwd []",
    "no date": b"a: 2020-99-99",
    "a number of 5000 digits": b"a: " + b"9" * 5000,
    "a list as a key": b"? [1, 2]\n: 3\n",
}


@pytest.mark.parametrize("name", BAD_YAML)
def test_bad_yaml_is_one_sentence_that_names_the_file_and_the_remedy(tmp_path: Path, name: str):
    path = tmp_path / "config.yaml"
    path.write_bytes(BAD_YAML[name])
    with pytest.raises(UserError, match=r"config\.yaml.*; train it again$") as refused:
        read_yaml(path, "train it again")
    assert "\n" not in str(refused.value)


BAD_JSON = {
    "cut off": b'{"a": [1',
    "NaN": b'{"a": NaN}',
    "nested deeply": b"[" * 200_000 + b"]" * 200_000,
    "not UTF-8": b'{"a": "\xff"}',
    "empty": b"",
    "a number of 5000 digits": b"9" * 5000,
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_bad_json_is_one_sentence_that_names_the_file_and_the_remedy(tmp_path: Path, name: str):
    path = tmp_path / "split.json"
    path.write_bytes(BAD_JSON[name])
    with pytest.raises(UserError, match=r"split\.json.*; remove it$") as refused:
        read_json(path, "remove it")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", ["[1]", "3", '"text"', "null"])
def test_json_that_holds_no_object_is_refused_where_one_is_needed(tmp_path: Path, content: str):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match="names and values"):
        read_json_object(tmp_path / "a.json", "remove it")


def test_a_missing_file_or_a_folder_in_its_place_is_one_sentence(tmp_path: Path):
    with pytest.raises(UserError, match=r"a\.yaml is missing; make one"):
        read_yaml(tmp_path / "a.yaml", "make one")
    with pytest.raises(UserError, match="directory"):
        read_yaml(tmp_path, "make one")


@pytest.mark.parametrize("read", [read_yaml, read_json, read_numbers])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_a_device_is_refused_before_it_is_opened(tmp_path: Path, kind: str, read: Callable[..., object]):
    path = tmp_path / "predictions.csv"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"predictions\.csv is no regular file.*; remove it$"):
        read(path, "remove it")


def test_what_this_project_writes_is_read_back_also_where_a_value_stands_twice(tmp_path: Path):
    window = [-1, 7]
    settings = {"ct": window, "cxr": window, "병원": "서울", "rate": 1e-5, "none": None, "most": -1}
    write_yaml(tmp_path / "config.yaml", settings)
    assert read_yaml(tmp_path / "config.yaml", "") == settings


def test_several_documents_of_one_text_are_read(tmp_path: Path):
    assert parse_yaml_documents("a: 1\n---\nb: [2]\n") == [{"a": 1}, {"b": [2]}]
