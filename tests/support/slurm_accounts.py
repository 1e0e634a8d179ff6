"""The accounts of a Slurm on loopback: slurmdbd, and a MariaDB of its own."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

DATABASE = ("mariadbd", "mariadb-install-db", "mariadb-admin", "slurmdbd", "sacctmgr")
PATIENCE_S = 120
CONFIGURATION = """\
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
"""
#: Of slurm.conf.
SETTINGS = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge.socket"""
NO_ACCOUNTS = "AccountingStorageType=accounting_storage/none"


@contextmanager
def running_database(folder: Path) -> Iterator[None]:
    """MariaDB with all its files in ``folder``, ended with the block. Skips the test where it is not installed."""
    if missing := [name for name in DATABASE if not shutil.which(name)]:
        pytest.skip(f"no {', '.join(missing)} here: apt-get install slurmdbd mariadb-server")
    data, socket = folder / "database", folder / "database.socket"
    shutil.chown(folder, "mysql")
    make = ("--no-defaults", "--user=mysql", f"--datadir={data}", "--auth-root-authentication-method=normal")
    subprocess.run(["mariadb-install-db", *make], check=True, capture_output=True, timeout=PATIENCE_S)
    serve = ("--no-defaults", "--user=mysql", f"--datadir={data}", f"--socket={socket}", "--skip-networking")
    with (folder / "database.log").open("w") as log:
        server = subprocess.Popen(
            ["mariadbd", *serve, "--innodb-buffer-pool-size=64M"], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        wait_until_done("mariadb-admin", "-uroot", "-S", str(socket), "ping")
        yield
    finally:
        server.terminate()
        server.wait(timeout=PATIENCE_S)


def start_accounts(folder: Path, port: int, environment: dict[str, str]) -> None:
    """Start slurmdbd, which finds munge and the database in ``folder``, and make the cluster known to it."""
    path = folder / "slurmdbd.conf"
    path.write_text(CONFIGURATION.format(folder=folder, port=port))
    path.chmod(0o600)
    environment = environment | {"MYSQL_UNIX_PORT": str(folder / "database.socket")}
    subprocess.run(["slurmdbd"], env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until_done("sacctmgr", "-i", "add", "cluster", "loop", environment=environment)


def wait_until_done(*command: str, environment: dict[str, str] | None = None) -> None:
    """Call a command until it succeeds."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        done = subprocess.run(command, env=environment or os.environ, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        assert time.monotonic() < deadline, f"{command}: {done.stderr}"
        time.sleep(0.5)
