"""Three hospitals, a held-out one and a server, each in processes of its own, with certificates on both sides."""

import json
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from kicc_ml.cohort.clinical_table import features, read_clinical
from tests.support.commands import KICC_ML, ROOT, run
from tests.support.federation_processes import (
    PATIENCE_S,
    RESEARCHER,
    SITES,
    Running,
    running_federation,
    start,
    wait_for,
)
from tests.support.schemas import list_file_faults

pytestmark = pytest.mark.slow
nvflare = pytest.importorskip("nvflare")

PATIENTS = 24
SMALL = ("channels=4,8", "patches=4", "batch_size=2", "spacing_mm=12,12,16", "patch_size=16,16,8")


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_federation(tmp_path_factory.mktemp("federation"), PATIENTS) as running:
        yield running


def run_federated(federation: Running, out: Path, *options: str) -> dict:
    kit = federation.kits[RESEARCHER]
    done = run(*KICC_ML, "federated", "run", kit, "-o", out, *options, timeout_s=PATIENCE_S)
    assert done.returncode == 0, done.stderr[-3000:]
    assert list_file_faults(out / "federated.json") == []
    return json.loads((out / "federated.json").read_text())


def test_outcomes_are_learnt_by_three_and_judged_by_the_fourth_at_home(federation: Running, tmp_path: Path):
    result = run_federated(federation, tmp_path / "out", "--held-out", "west", "--rounds", "3")
    fold = result["folds"]["west"]
    assert [sorted(one) for one in fold["rounds"]] == [["east", "north", "south"]] * 3
    assert fold["lost"] == {}
    judged = [one["sites"]["west"] for one in result["results"].values() if one["sites"]["west"]]
    assert judged
    assert all(0 <= one["area"] <= 1 for one in judged)
    # The job that trained the fold never reached the held-out hospital: it saw sums and judge alone.
    tasks = federation.read_log("west")
    assert "train" not in {word for line in tasks.splitlines() if "got task" in line for word in line.split("'")}
    check_table_1(federation, tmp_path / "out" / "table_1.csv")
    check_nothing_identifies(federation, tmp_path / "out")


def check_table_1(federation: Running, path: Path) -> None:
    """Equal to the table of all patients together, where no hospital withholds anything."""
    table = pd.read_csv(path).set_index("characteristic")
    pooled = pd.concat([features(read_clinical(root / "clinical.csv")) for root in federation.repositories.values()])
    compared = 0
    for column in [name for name in table.index if name in pooled and not table.loc[name, "withheld"]]:
        assert table.loc[column, "known"] == pooled[column].count()
        assert table.loc[column, "mean"] == pytest.approx(pooled[column].mean(), rel=1e-9)
        compared += 1
    assert compared >= 5


def check_nothing_identifies(federation: Running, out: Path) -> None:
    """No name, number or path of a hospital on the server's disk, in what it says, or in the results."""
    tables = {site: pd.read_csv(root / "clinical.csv", dtype=str) for site, root in federation.repositories.items()}
    marks = {number for table in tables.values() for number in table["patient_id"] if len(number) >= 6}
    marks |= {str(root) for root in federation.repositories.values()}
    assert len(marks) >= len(SITES) * PATIENTS // 2
    files = [
        *federation.kits["localhost"].rglob("*"),
        *out.rglob("*"),
        federation.kits["localhost"].parent / "localhost.out",
    ]
    texts = {path: path.read_bytes() for path in files if path.is_file()}
    assert sum(map(len, texts.values())) > 10_000
    for path, text in texts.items():
        found = [mark for mark in marks if mark.encode() in text]
        assert not found, path


def test_lesions_are_learnt_by_three_and_judged_by_the_fourth_at_home(federation: Running, tmp_path: Path):
    settings = [word for one in SMALL for word in ("--set", one)]
    out = tmp_path / "out"
    result = run_federated(federation, out, "--task", "lesion_ct", "--held-out", "west", "--rounds", "3", *settings)
    assert [sorted(one) for one in result["folds"]["west"]["rounds"]] == [["east", "north", "south"]] * 3
    assert result["results"]["lung"]["sites"]["west"]["scans"] >= 5


def test_without_a_certificate_of_this_federation_nobody_is_heard(federation: Running):
    startup = federation.kits["east"] / "startup"
    assert greet(federation.port, startup, with_certificate=True)
    assert not greet(federation.port, startup, with_certificate=False)


def greet(port: int, startup: Path, with_certificate: bool) -> bytes:
    """What the server answers to the first bytes of HTTP/2."""
    context = ssl.create_default_context(cafile=startup / "rootCA.pem")
    context.set_alpn_protocols(["h2"])
    if with_certificate:
        context.load_cert_chain(startup / "client.crt", startup / "client.key")
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            secure.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
            return secure.recv(9)
    except (ssl.SSLError, ConnectionError):
        return b""


@pytest.mark.parametrize("shipped", ["code", "class"])
def test_a_hospital_refuses_shipped_code_and_every_other_class(federation: Running, tmp_path: Path, shipped: str):
    from kicc_ml.federated.jobs import open_federation, write_job

    ran = tmp_path / "ran"
    args = {"step": "sums", "sites": list(SITES), "seconds": 60, "least": 2}
    job = write_job(tmp_path / "job", args, {})
    if shipped == "code":
        custom = job / "at_hospital" / "custom"
        custom.mkdir()
        (custom / "ours.py").write_text(f"open({str(ran)!r}, 'w')\n")
        named = "ours.Ours"
    else:
        named = "nvflare.app_common.np.np_trainer.NPTrainer"
    path = job / "at_hospital" / "config" / "config_fed_client.json"
    path.write_text(path.read_text().replace("kicc_ml.federated.client.HospitalExecutor", named))
    with open_federation(federation.kits[RESEARCHER], 60, 2) as opened:
        status = opened.wait(opened.session.submit_job(str(job)))
    assert status != "FINISHED:COMPLETED"
    assert not ran.exists()
    for site in SITES:
        if shipped == "code":
            assert f"{site}: NVFLARE_ERROR: BYOC not permitted" in federation.read_log("localhost")
        else:
            assert f"'{named}' at config path 'executors.#1.executor' is not in allow_list" in federation.read_log(site)


def test_a_hospital_that_is_killed_is_left_out_and_the_rounds_end(federation: Running, tmp_path: Path):
    """Comes after the tests that need this hospital: it does not return."""
    out = tmp_path / "out"
    options = ("--held-out", "west", "--rounds", "3", "--minutes", "1", "-o", str(out))
    before = federation.read_log("localhost").count("round 1 of 3 has ended")
    running = subprocess.Popen(
        [*KICC_ML, "federated", "run", str(federation.kits[RESEARCHER]), *options],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    wait_for(lambda: federation.read_log("localhost").count("round 1 of 3 has ended") > before, "the first round")
    federation.kill("south")
    assert running.wait(PATIENCE_S) == 0
    fold = json.loads((out / "federated.json").read_text())["folds"]["west"]
    assert "south" in fold["lost"]
    assert sorted(fold["rounds"][-1]) == ["east", "north"]


def test_a_hospital_with_another_version_refuses_and_says_both(federation: Running, tmp_path: Path):
    from kicc_ml.federated.jobs import open_federation

    installed = tmp_path / "kicc_ml-99.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: kicc_ml\nVersion: 99.0\n")
    federation.kill("north")
    start(federation, "north", "--repository", str(federation.repositories["north"]), first_on_path=tmp_path)
    wait_for(lambda: "Successfully registered" in federation.read_log("north"), "north to register again")
    with open_federation(federation.kits[RESEARCHER], 120, 2) as opened:
        sums = opened.collect_sums(["east", "north", "west"])
    assert sorted(sums["patients"]) == ["east", "west"]
    assert "this hospital has 99.0; install the same version everywhere" in sums["lost"]["north"]
