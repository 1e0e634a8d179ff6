"""Startup kits of a federation: NVFlare's own certificates and settings, closed further than it closes them itself."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nvflare.lighter.constants import CtxKey
from nvflare.lighter.prov_utils import prepare_builders
from nvflare.lighter.provision import prepare_project
from nvflare.lighter.provisioner import Provisioner

from kicc_ml.core.errors import UserError
from kicc_ml.core.files import make_folder, write_json
from kicc_ml.core.received import read_json_object

#: Name of the federation, of the organisation in certificates, and of the one who starts trainings.
PROJECT, ORGANISATION, RESEARCHER = "kicc_ml", "federation", "researcher@federation.org"

#: Names that a certificate and a folder can hold; a hospital may be called otherwise in its own table.
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
HOST = re.compile(r"(?=.{1,64}\Z)([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?")
#: Days of a hundred years; certificates know no time without end.
MOST_DAYS = 36_500

#: The components that a job may name, at hospitals and at the server.
COMPONENTS = {
    "client": "kicc_ml.federated.client.HospitalExecutor",
    "server": "kicc_ml.federated.server.FederationController",
}

#: Components of NVFlare that send logs of a hospital to the server, or take them.
LOG_SENDERS = ("site_log_streamer", "log_receiver")

BUILDERS = (
    "workspace.WorkspaceBuilder",
    "static_file.StaticFileBuilder",
    "cert.CertBuilder",
    "signature.SignatureBuilder",
)

#: After this many seconds without a sign of a hospital the server counts it as lost; NVFlare would wait 10 minutes.
HEARTBEAT_S = 120

#: What one who starts trainings may do: no code of his own, no shell, no logs of a hospital.
PERMISSIONS = {
    "lead": {
        "submit_job": "any",
        "clone_job": "none",
        "manage_job": "n:submitter",
        "download_job": "n:submitter",
        "view": "any",
        "operate": "none",
        "shell_commands": "none",
        "byoc": "none",
        "server-predeployed-flwr": "none",
    }
}


def provision(folder: Path, server: str, port: int, sites: Sequence[str], days: int) -> dict[str, Path]:
    """Make a startup kit for the server, for each hospital, and for the one who starts trainings.

    A second call on the same folder keeps the certificate authority, and makes new kits beside the old ones, for a
    further hospital.

    Args:
        folder: where the kits and the key of the authority are kept; nobody else may read it.
        server: the host name under which hospitals reach the server.
        port: its port.
        sites: the names of the hospitals.
        days: how long the authority is valid.

    Returns:
        the folders of the kits by name.

    Raises:
        UserError: a name cannot stand in a certificate, or occurs twice; or the days are none.
    """
    _check_names(server, port, sites)
    if not 1 <= days <= MOST_DAYS:
        raise UserError(f"--days {days} is not between 1 and {MOST_DAYS}")
    make_folder(folder, private=True)
    project = _describe_project(server, port, sites, days)
    context = Provisioner(str(folder), prepare_builders(project)).provision(prepare_project(project), logger=_Silent())
    if context.get(CtxKey.BUILD_ERROR):
        raise UserError(f"{folder}: the kits could not be made: {'; '.join(map(str, context.get(CtxKey.ERRORS, [])))}")
    made = Path(context.get_result_location())
    kits = {name: made / name for name in (server, *sites, RESEARCHER)}
    for name, kit in kits.items():
        if name != RESEARCHER:
            _close(kit, "server" if name == server else "client")
    return kits


def _check_names(server: str, port: int, sites: Sequence[str]) -> None:
    if not HOST.fullmatch(server):
        raise UserError(f"--server {server!r} is no host name; give the name under which hospitals reach the server")
    if not 1024 <= port <= 65535:
        raise UserError(f"--port {port} is not between 1024 and 65535")
    for site in sites:
        if not NAME.fullmatch(site) or site in (server, "server"):
            raise UserError(
                f"--site {site!r} cannot stand in a certificate; use small letters, digits and '-', and not the name "
                "of the server"
            )
        if sites.count(site) > 1:
            raise UserError(f"--site {site!r} is given twice; each hospital has a name of its own")
    if len(sites) < 2:
        raise UserError("a federation has at least two hospitals; give --site NAME for each")


def _describe_project(server: str, port: int, sites: Sequence[str], days: int) -> dict[str, Any]:
    hospitals = [{"name": site, "type": "client", "org": ORGANISATION, "allow_log_streaming": False} for site in sites]
    at_server = {"name": server, "type": "server", "org": ORGANISATION, "fed_learn_port": port, "admin_port": port}
    person = {"name": RESEARCHER, "type": "admin", "org": ORGANISATION, "role": "lead"}
    builders: list[dict[str, Any]] = [{"path": f"nvflare.lighter.impl.{name}", "args": {}} for name in BUILDERS]
    builders[0]["args"] = {"template_file": ["master_template.yml"]}
    builders[1]["args"] = {"config_folder": "config", "scheme": "grpc"}
    builders[2]["args"] = {"root_valid_days": days}
    return {
        "api_version": 3,
        "name": PROJECT,
        "description": "kicc_ml",
        "participants": [at_server, *hospitals, person],
        "builders": builders,
    }


def _close(kit: Path, kind: str) -> None:
    """Let jobs name one component of this package only; refuse shipped code; send no logs."""
    local = kit / "local"
    resources = read_json_object(local / "resources.json.default", "provision again")
    resources |= {"class_list_enforcement_mode": "enforce", "class_allow_list": [COMPONENTS[kind]]}
    if kind == "server":
        resources["servers"][0]["heart_beat_timeout"] = HEARTBEAT_S
    if kind == "client":
        resources["allow_log_streaming"] = False
    resources["components"] = [one for one in resources["components"] if one["id"] not in LOG_SENDERS]
    write_json(local / "resources.json", resources)
    write_json(local / "authorization.json", {"format_version": "1.0", "permissions": PERMISSIONS})


def place_storage(kit: Path) -> None:
    """Let the server keep jobs and snapshots in its own kit, wherever that lies now; NVFlare would take ``/tmp``.

    Args:
        kit: the folder of the server's kit.
    """
    path = kit / "local" / "resources.json"
    storage = r'"[^"]*/(jobs|snapshot)-storage"'
    text = json.dumps(read_json_object(path, "provision again"))
    write_json(path, json.loads(re.sub(storage, lambda old: json.dumps(f"{kit.absolute()}/{old[1]}-storage"), text)))


class _Silent:
    """Takes what NVFlare says while it makes kits; errors are in its context too."""

    def debug(self, *_: Any) -> None:
        """Say nothing."""

    info = warning = error = debug
