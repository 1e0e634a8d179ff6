from pathlib import Path

import pytest

from kicc_ml.core.errors import UserError
from kicc_ml.core.received import read_json_object

pytest.importorskip("nvflare")
from kicc_ml.federated.jobs import open_federation
from kicc_ml.federated.kits import provision

pytestmark = pytest.mark.slow


def test_a_further_hospital_gets_a_kit_of_the_same_authority(tmp_path: Path):
    before = provision(tmp_path, "localhost", 8002, ["east", "north"], 360)
    after = provision(tmp_path, "localhost", 8002, ["east", "north", "south"], 360)
    root = Path("startup") / "rootCA.pem"
    assert (after["south"] / root).read_bytes() == (before["east"] / root).read_bytes()
    assert before["east"].is_dir()


def test_a_kit_of_a_hospital_refuses_code_sends_no_logs_and_knows_one_class(tmp_path: Path):
    local = provision(tmp_path, "localhost", 8002, ["east", "north"], 360)["east"] / "local"
    resources = read_json_object(local / "resources.json", "")
    assert resources["class_allow_list"] == ["kicc_ml.federated.client.HospitalExecutor"]
    assert resources["class_list_enforcement_mode"] == "enforce"
    assert resources["allow_log_streaming"] is False
    assert "site_log_streamer" not in {one["id"] for one in resources["components"]}
    (rights,) = read_json_object(local / "authorization.json", "")["permissions"].values()
    assert (rights["byoc"], rights["shell_commands"], rights["operate"]) == ("none", "none", "none")


@pytest.mark.parametrize("site", ["Seoul 1", "../east", "localhost", "서울"])
def test_a_name_that_no_certificate_can_hold_is_refused_before_anything_is_written(tmp_path: Path, site: str):
    with pytest.raises(UserError, match="cannot stand in a certificate"):
        provision(tmp_path / "kits", "localhost", 8002, ["east", site], 360)
    assert not (tmp_path / "kits").exists()


@pytest.mark.parametrize(
    ("server", "sites", "days", "words"),
    [
        ("localhost", ["east", "east"], 360, "--site 'east' is given twice"),
        ("fl..example.org", ["east", "north"], 360, "is no host name"),
        ("x" * 65, ["east", "north"], 360, "is no host name"),
        ("localhost", ["east", "north"], 0, "--days 0 is not between 1 and"),
        ("localhost", ["east", "north"], 99_999_999, "is not between 1 and"),
    ],
)
def test_what_no_certificate_can_state_is_refused_before_anything_is_written(
    tmp_path: Path, server: str, sites: list[str], days: int, words: str
):
    with pytest.raises(UserError, match=words):
        provision(tmp_path / "kits", server, 8002, sites, days)
    assert not (tmp_path / "kits").exists()


@pytest.mark.parametrize(
    ("text", "folders"), [("{}", ["startup"]), ("{}", ["startup", "local"]), ("{", ["startup", "local"])]
)
def test_a_damaged_kit_is_named_with_the_way_on(tmp_path: Path, text: str, folders: list[str]):
    for name in folders:
        (tmp_path / name).mkdir()
    (tmp_path / "startup" / "fed_admin.json").write_text(text)
    with pytest.raises(UserError, match=r"is damaged .* unpack the kit again"), open_federation(tmp_path, 60, 2):
        pass
