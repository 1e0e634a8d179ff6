"""Who may see the worklist page stands in files that nobody else can read or change, and are refused by their entry."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kicc_ml.core.errors import UserError
from kicc_ml.service.web.users import User, make_entry, read_users
from tests.support.web_node import PASSWORD, TOKEN, WebNode, make_web_node

ROOT = Path(__file__).parents[2]


@pytest.fixture
def node(tmp_path: Path) -> WebNode:
    return make_web_node(tmp_path)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([], "no list of users"),
        ([{"name": "a", "role": "viewer"}], "other keys"),
        ([{"name": "a", "role": "root", "password": "x"}], "role is none of"),
        ([{"name": "a", "role": "viewer", "password": "plain text"}], "no argon2 hash"),
        (
            [{"name": "a", "role": "viewer", "password": "$argon2id$v=19$m=99999999,t=1,p=1$YWFhYWFhYWE$YWFh"}],
            "usual cost",
        ),
        ([{"name": "a\x1b", "role": "viewer", "password": "x"}], "printable"),
    ],
)
def test_a_file_of_users_that_holds_something_else_is_refused_by_its_entry(tmp_path: Path, entries, said: str):
    path = tmp_path / "users.yaml"
    path.touch(0o600)
    path.write_text(yaml.safe_dump(entries))
    with pytest.raises(UserError, match=said) as raised:
        read_users(path, None)
    assert str(path) in str(raised.value)


def test_files_that_others_may_change_and_weak_tokens_are_refused(tmp_path: Path):
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text("short")
    with pytest.raises(UserError, match="no token of at least"):
        read_users(None, path)
    path.write_text(TOKEN)
    path.chmod(stat.S_IRUSR | stat.S_IWUSR | stat.S_IWGRP)
    with pytest.raises(UserError, match="chmod go-w"):
        read_users(None, path)
    with pytest.raises(UserError, match=r"name web\.users"):
        read_users(None, None)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644])
def test_files_that_others_may_read_are_refused(node: WebNode, mode: int):
    web = node.settings.web
    for path, files in ((web.users, (web.users, None)), (web.token, (None, web.token))):
        assert path is not None
        read_users(*files)
        path.chmod(mode)
        with pytest.raises(UserError, match=f"can be read by other users of the machine; chmod 600 {path}"):
            read_users(*files)


def test_a_file_of_another_user_may_be_read_through_its_group(node: WebNode, monkeypatch: pytest.MonkeyPatch):
    path = node.settings.web.token
    assert path is not None
    path.chmod(0o640)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    assert read_users(None, path).check_token(TOKEN) is not None
    path.chmod(0o644)
    with pytest.raises(UserError, match="can be read by other users"):
        read_users(None, path)


def test_the_entry_that_the_command_prints_is_read_again(tmp_path: Path):
    path = tmp_path / "users.yaml"
    path.touch(0o600)
    path.write_text(make_entry("김", "viewer", PASSWORD) + make_entry("otto", "operator", "another password"))
    users = read_users(path, None)
    assert users.check_password("김", PASSWORD) == User("김", "viewer")
    assert users.check_password("otto", PASSWORD) is None
    assert users.check_password("nobody", PASSWORD) is None
    with pytest.raises(UserError, match="12 to 256"):
        make_entry("a", "viewer", "short")


def test_the_command_without_a_name_says_how_it_is_used():
    command = [sys.executable, "-m", "kicc_ml.service.web.users"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, "usage" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "says"), [(["vera", "viewer"], "in a terminal"), (["--help"], "web.users names")]
)
def test_without_a_terminal_no_password_is_asked_for(arguments: list[str], says: str):
    command = [sys.executable, "-m", "kicc_ml.service.web.users", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
