"""A server and four hospitals of a federation, each in processes of its own, with certificates, on loopback."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kicc_ml.core.files import write_json
from kicc_ml.core.received import read_json_object
from kicc_ml.synthetic.repository import synthesize
from tests.support.commands import KICC_ML, ROOT, run
from tests.support.loopback_pacs import find_free_port

SITES = ("east", "north", "south", "west")
RESEARCHER = "researcher@federation.org"
#: Every wait ends with an error after this; an idle machine needs a tenth of it.
PATIENCE_S = 600


@dataclass
class Running:
    """The kits by name, the repositories and processes of those that joined, and the port of the server."""

    kits: dict[str, Path]
    repositories: dict[str, Path]
    processes: dict[str, subprocess.Popen]
    port: int

    def read_log(self, name: str) -> str:
        return (self.kits[name].parent / f"{name}.out").read_text(errors="replace")

    def kill(self, name: str) -> None:
        """End a hospital with all its processes, as a lost machine would: nothing is said to the server."""
        os.killpg(self.processes[name].pid, signal.SIGKILL)
        self.processes.pop(name).wait()


def provision(folder: Path, port: int) -> dict[str, Path]:
    sites = [word for site in SITES for word in ("--site", site)]
    made = run(*KICC_ML, "federated", "provision", folder, "--server", "localhost", "--port", port, *sites)
    assert made.returncode == 0, made.stderr
    return {name: Path(kit) for name, kit in (line.split(": ", 1) for line in made.stdout.splitlines())}


def write_repositories(folder: Path, patients: int) -> dict[str, Path]:
    """A repository of one synthetic hospital for each, with small images."""
    for seed, site in enumerate(SITES):
        synthesize(folder / site, "demo", seed + 1, sites=1, patients=patients, matrix=32, slices=16)
    return {site: folder / site for site in SITES}


@contextmanager
def running_federation(folder: Path, patients: int) -> Iterator[Running]:
    """Start everybody, and wait until all hospitals are registered; end all of them afterwards.

    The server lets the researcher ship code, so that it is a hospital that refuses it.
    """
    port = find_free_port()
    kits = provision(folder / "kits", port)
    own_rules = kits["localhost"] / "local" / "authorization.json"
    rules = read_json_object(own_rules, "")
    rules["permissions"]["lead"]["byoc"] = "any"
    write_json(own_rules, rules)
    found = Running(kits, write_repositories(folder / "data", patients), {}, port)
    try:
        start(found, "localhost")
        for site in SITES:
            start(found, site, "--repository", str(found.repositories[site]))
        for site in SITES:
            wait_for(lambda site=site: "Successfully registered" in found.read_log(site), f"{site} to register")
        yield found
    finally:
        for name in list(found.processes):
            found.kill(name)


def start(federation: Running, name: str, *options: str, first_on_path: Path = ROOT) -> None:
    with (federation.kits[name].parent / f"{name}.out").open("w") as log:
        federation.processes[name] = subprocess.Popen(
            [*KICC_ML, "federated", "join", str(federation.kits[name]), *options],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{first_on_path}{os.pathsep}{ROOT}"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def wait_for(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.5)
