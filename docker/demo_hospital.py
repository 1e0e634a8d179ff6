"""A hospital on this machine, without a container engine: ``python docker/demo_hospital.py``.

Orthanc is the PACS, OHIF the viewer (behind nginx), ``kicc-ml serve`` the node, with the run of the demo. All are on
127.0.0.1. The PACS is given CTs of the synthetic cohort, sends them to the node, and gets the results back:
docs/hospital-viewer.md.
"""

import argparse
import base64
import hashlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from string import Template
from urllib.error import URLError
from urllib.request import Request, urlopen

from kicc_ml.core.errors import UserError
from kicc_ml.service.web.users import make_entry

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = ROOT / "docker" / "hospital"
OHIF = "@ohif/app@3.13.2"
#: Of the package that npm fetches, as npm states it.
OHIF_SHA512 = "WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
PROGRAMS = {"Orthanc": "orthanc orthanc-dicomweb", "nginx": "nginx-light", "npm": "npm"}
READY_WITHIN_S = 120
PASSWORD_BYTES = 12


def find_missing() -> str:
    """Return the Debian packages whose programs are not on this machine, empty if all are there."""
    missing = [package for program, package in PROGRAMS.items() if not find_program(program)]
    if not missing and not PLUGIN.is_file():
        missing = ["orthanc-dicomweb"]
    return " ".join(missing)


def find_program(name: str) -> str | None:
    """Find a program also where only root looks for it by default."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def fetch_ohif(folder: Path) -> Path:
    """Fetch OHIF by npm unless it lies in ``folder`` already, and return the folder of its pages."""
    pages = folder / OHIF.rpartition("@")[2] / "package" / "dist"
    if pages.is_dir():
        return pages
    folder.mkdir(parents=True, exist_ok=True)
    fetched = subprocess.run(["npm", "pack", "--silent", OHIF], cwd=folder, capture_output=True, text=True, check=False)
    if fetched.returncode != 0:
        raise UserError(f"npm cannot fetch {OHIF}: {fetched.stderr.strip()[-300:]}")
    package = folder / fetched.stdout.split()[-1]
    found = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
    if found != OHIF_SHA512:
        package.unlink()
        raise UserError(f"{OHIF} is not the package that was tried: its SHA-512 is {found}")
    partial = folder / f"{secrets.token_hex(4)}.partial"
    with tarfile.open(package) as archive:
        archive.extractall(partial, filter="data")
    package.unlink()
    partial.rename(pages.parents[1])
    return pages


def find_free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def fill_in(name: str, folder: Path, values: dict[str, object]) -> Path:
    """Write the configuration ``name`` of ``docker/hospital`` with these values into ``folder``."""
    filled = Template((TEMPLATES / name).read_text(encoding="utf-8")).safe_substitute(values)
    (folder / name).write_text(filled, encoding="utf-8")
    return folder / name


@contextmanager
def running(command: Sequence[str | Path], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the end of the block; what it says goes to ``log``."""
    with log.open("ab") as file:
        process = subprocess.Popen([str(part) for part in command], stdout=file, stderr=file, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Wait until a service answers; it is an error if it ends or takes too long."""
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.1)
    raise UserError(f"{url} does not answer; {log} says why")


@contextmanager
def running_pacs(folder: Path, values: dict[str, object]) -> Iterator[None]:
    """Run Orthanc and, in front of its DICOMweb service, nginx with OHIF."""
    with (
        running(
            [find_program("Orthanc") or "Orthanc", fill_in("orthanc.json", folder, values)], folder / "pacs.log"
        ) as pacs,
        running(
            [find_program("nginx") or "nginx", "-c", fill_in("nginx.conf", folder, values), "-g", "daemon off;"],
            folder / "viewer.log",
        ) as viewer,
    ):
        wait_until_ready(pacs, f"{values['orthanc']}/system", folder / "pacs.log")
        wait_until_ready(viewer, f"http://{values['listen']}/dicom-web/studies", folder / "viewer.log")
        yield


@contextmanager
def running_node(folder: Path, run: Path, values: dict[str, object]) -> Iterator[None]:
    """Run ``kicc-ml serve`` with a run."""
    settings = fill_in("site.yaml", folder, values)
    kicc_ml = [sys.executable, "-c", "from kicc_ml.apps.cli import main; main()"]
    command = [*kicc_ml, "serve", "--run", run, "--config", settings]
    with running(command, folder / "node.log") as node:
        wait_until_ready(node, f"http://127.0.0.1:{values['page_port']}/health", folder / "node.log")
        yield


def choose_values(folder: Path, ohif: Path, ports: Sequence[int]) -> dict[str, object]:
    """Choose what the configurations of ``docker/hospital`` leave open."""
    http_port, dicom_port, node_port, page_port, viewer_port = ports
    return {
        **{"address": "127.0.0.1", "node": "127.0.0.1", "pacs": "127.0.0.1", "remote": "false"},
        **{"http_port": http_port, "dicom_port": dicom_port, "node_port": node_port, "page_port": page_port},
        **{"listen": f"127.0.0.1:{viewer_port}", "orthanc": f"http://127.0.0.1:{http_port}"},
        **{"folder": folder / "pacs", "node_folder": folder / "node", "users": folder / "users.yaml"},
        **{"ohif": ohif, "configuration": TEMPLATES / "ohif.js", "rule": TEMPLATES / "forward.lua"},
        "temporary": folder / "viewer",
    }


def send(files: Sequence[Path], orthanc: str) -> None:
    """Store DICOM files in Orthanc."""
    for file in files:
        with urlopen(Request(f"{orthanc}/instances", data=file.read_bytes(), method="POST"), timeout=60):
            pass


def find_studies(repository: Path, count: int) -> list[list[Path]]:
    """Find the files of the first CT studies of the synthetic repository."""
    from kicc_ml import index_series  # only here, since it loads much

    studies: dict[str, list[Path]] = {}
    for series in index_series(repository):
        if series.modality == "CT" and series.usable:
            studies.setdefault(series.study, []).extend(series.files)
    return [studies[uid] for uid in sorted(studies)[:count]]


def make_folders(folder: Path) -> str:
    """Make the folder of the hospital with a user of the worklist, and return the password."""
    if folder.exists():
        raise UserError(f"{folder} is there already; name another with --folder, or remove it")
    folder.mkdir(parents=True, mode=0o700)
    for name in ("pacs", "viewer"):
        (folder / name).mkdir()
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    users = folder / "users.yaml"
    users.touch(0o600)
    users.write_text(make_entry("demo", "operator", password), encoding="utf-8")
    return password


def run_hospital(arguments: argparse.Namespace) -> None:
    """Start everything, send the studies, and wait for Ctrl-C or SIGTERM."""
    if missing := find_missing():
        raise UserError(f"programs are missing: apt-get install {missing}")
    studies = find_studies(arguments.repository, arguments.studies)
    ohif = fetch_ohif(ROOT / "build" / "ohif")
    folder = arguments.folder.resolve()
    password = make_folders(folder)
    values = choose_values(folder, ohif, find_free_ports(5))
    with running_pacs(folder, values), running_node(folder, arguments.run.resolve(), values):
        print(f"viewer    http://{values['listen']}")
        print(f"worklist  http://127.0.0.1:{values['page_port']}  user demo, password {password}", flush=True)
        for files in studies:
            send(files, str(values["orthanc"]))
        print(f"{len(studies)} studies are in the PACS; their results follow. Ctrl-C ends all.", flush=True)
        signal.pause()


def main() -> int:
    """Run the hospital; return 2 for an error of the user."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/demo/lesion_ct"), help="run that predicts")
    parser.add_argument("--repository", type=Path, default=Path("repository/demo"), help="synthetic cohort")
    parser.add_argument("--studies", type=int, default=3, help="so many CT studies are sent")
    parser.add_argument("--folder", type=Path, default=Path("build/hospital"), help="new folder for all that is kept")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run_hospital(parser.parse_args())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
