"""How the server and a hospital take part: NVFlare's own process, from the kit that was handed out."""

import os
import sys
from pathlib import Path
from typing import NoReturn

from kicc_ml.core.errors import UserError
from kicc_ml.core.files import write_json
from kicc_ml.federated.client import HOSPITAL
from kicc_ml.federated.kits import place_storage

#: How long the server waits for the end of a job at a hospital that was lost; NVFlare would wait 15 minutes.
PATIENCE_S = 30


def is_server(kit: Path) -> bool:
    """Tell whether a kit is the server's.

    Args:
        kit: the folder of the kit.

    Raises:
        UserError: it is neither that of the server nor that of a hospital.
    """
    for name, found in (("fed_server.json", True), ("fed_client.json", False)):
        if (kit / "startup" / name).is_file():
            return found
    raise UserError(f"{kit} is no kit of a server or a hospital; give a folder that kicc-ml federated provision made")


def prepare_kit(kit: Path, repository: Path | None, store: Path | None) -> None:
    """Write into a kit where the hospital's data lie, or where the server keeps its jobs.

    Args:
        kit: the folder of the kit.
        repository: the hospital's own repository; None at the server.
        store: the folder of prepared volumes; None for ``store`` in the kit.

    Raises:
        UserError: a hospital without a repository, or a server with a repository or a store.
    """
    if is_server(kit):
        if (repository, store) != (None, None):
            raise UserError(f"{kit} is the kit of the server, which holds no data; leave out --repository and --store")
        return place_storage(kit)
    if repository is None or not repository.is_dir():
        raise UserError(
            f"--repository {repository or ''} is not a folder; give the hospital's own: its folder of DICOM files and "
            "its clinical.csv"
        )
    places = {"repository": str(repository.absolute()), "store": str((store or kit / "store").absolute())}
    return write_json(kit / "local" / HOSPITAL, places, private=True)


def run_kit(kit: Path) -> NoReturn:
    """Become the process of a kit, which runs until it is ended.

    Args:
        kit: the folder of the kit, prepared.
    """
    script = kit.absolute() / "startup" / "sub_start.sh"
    own = str(Path(sys.executable).parent)
    env = {"NVFLARE_CLIENT_OUTCOME_WAIT_TIMEOUT": str(PATIENCE_S), **os.environ, "PYTHONUNBUFFERED": "1"}
    env["PATH"] = f"{own}{os.pathsep}{env.get('PATH', '')}"
    sys.stdout.flush()
    os.execvpe("bash", ["bash", str(script), "--once"], env)
