"""The image's install and entry commands, replayed in an environment of their own.

A container engine is not needed, since the image itself is not built here: what the Dockerfile installs and starts is
read from it and run with a copy of the tree.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements.lock", "requirements-cuda.lock")
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
#: What a user has beside the tree: data, runs, an environment. None of it belongs into an image.
NOT_SHIPPED = (".*", "__pycache__", "runs", "repository", "store", "dist", "build", "data")


def instruction(name: str) -> list[str]:
    """The arguments of every ``name`` of the Dockerfile, continued lines joined."""
    lines = re.sub(r"\\\n\s*", "", DOCKERFILE).splitlines()
    return [line.removeprefix(name).strip() for line in lines if line.startswith(f"{name} ")]


def test_the_image_runs_as_a_user_who_is_not_root():
    assert instruction("USER")[-1] not in ("root", "0")


def test_the_image_starts_with_the_entry_script_and_trains_by_default():
    assert instruction("ENTRYPOINT") == [f'["{instruction("WORKDIR")[0]}/docker/entry"]']
    assert instruction("FROM")[-1] == "common AS train"
    assert instruction("CMD")[-1] == '["train"]'
    assert os.access(ROOT / "docker" / "entry", os.X_OK)


def test_the_base_is_a_build_argument():
    assert instruction("FROM")[0] == "${BASE} AS common"
    assert any(argument.startswith("BASE=") for argument in instruction("ARG"))


def test_the_image_of_a_node_asks_for_its_health():
    served = DOCKERFILE[DOCKERFILE.index("AS serve") : DOCKERFILE.index("AS train")]
    assert "/health" in served
    assert f'CMD ["{instruction("WORKDIR")[0]}/.venv/bin/python"' in served, "also where a user works in another folder"


def read_pins() -> dict[str, str]:
    """Version of each package that the lock files pin."""
    text = "".join((ROOT / "docker" / name).read_text(encoding="utf-8") for name in LOCKS)
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, flags=re.MULTILINE))


def test_each_pinned_package_has_a_hash_and_no_line_names_where_it_comes_from():
    for name in LOCKS:
        lines = [line for line in (ROOT / "docker" / name).read_text(encoding="utf-8").splitlines() if line[0] != "#"]
        assert all(line.startswith("    --hash=sha256:") for line in lines if line[0] == " ")
        pinned = [number for number, line in enumerate(lines) if line[0] != " "]
        assert all("==" in lines[number] and lines[number].endswith("\\") for number in pinned)
        assert all(lines[number + 1].startswith("    --hash=") for number in pinned)


def test_what_is_pinned_is_what_the_project_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = project["project"]["dependencies"] + project["project"]["optional-dependencies"]["serve"]
    pins = read_pins()
    for one in [Requirement(text) for text in [*asked, *project["build-system"]["requires"]]]:
        assert pins[canonicalize_name(one.name)] in one.specifier, one


def test_the_images_install_by_hash_alone():
    installs = [line for line in instruction("RUN") if "pip install" in line and "cyclonedx" not in line]
    locked = " ".join(installs)
    assert all(f"--require-hashes ${{PIP_EXTRA}} -r docker/{name}" in locked for name in LOCKS)
    assert "--no-deps --no-build-isolation -e ." in installs[-1]


def test_no_image_holds_what_a_user_made_beside_the_tree():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".git", ".venv", "runs", "repository", "store", "build", "users.yaml"} <= set(ignored)


def test_containers_of_a_hospital_write_nothing_but_their_volume_and_are_reached_from_this_machine_alone():
    services = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert set(services) == {"pacs", "viewer", "node"}
    for service in services.values():
        assert service["read_only"]
        assert service["user"] == "10001:10001"
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working directory of the image: a copy of the tree with the environment that the install line makes.

    Nothing is downloaded: the packages are those of the environment that runs the tests.
    """
    pytest.importorskip("editables", reason="an editable install without a network needs editables beside hatchling")
    work = tmp_path_factory.mktemp("container") / "kicc_ml"
    shutil.copytree(ROOT, work, ignore=lambda folder, names: ignored(Path(folder), names))
    (environment_made,) = [line for line in instruction("RUN") if line == "python3 -m venv .venv"]
    (own,) = [line.split(" && ")[0] for line in instruction("RUN") if line.split(" && ")[0].endswith("-e .")]
    made = environment_made.replace("python3 -m venv", f"{sys.executable} -m venv --system-site-packages")
    install = f"{made} && {own}"
    environment = os.environ | {"PYTHONPATH": site_packages(), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(["sh", "-c", install], cwd=work, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (own,) = (work / ".venv" / "lib").glob("python*/site-packages")
    (own / "outer.pth").write_text(site_packages().replace(os.pathsep, "\n"))  # after Python's own modules
    return work


def ignored(folder: Path, names: list[str]) -> set[str]:
    patterns = NOT_SHIPPED if folder == ROOT else ("__pycache__",)
    return shutil.ignore_patterns(*patterns)(str(folder), names)


def site_packages() -> str:
    """Where the packages of the running environment lie; a virtual environment made from one does not see them."""
    return os.pathsep.join([sysconfig.get_path("purelib"), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)


def without_python_path() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def start(container: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """``docker run IMAGE command``, from anywhere."""
    return subprocess.run(
        [str(container / "docker" / "entry"), *command],
        cwd=container.parent,
        env=without_python_path() | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("train", "--help"), "lesion_ct"),
        (("train", "--cfg", "job", "experiment=outcome"), "OutcomeNetwork"),
        (("evaluate", "--help"), "runs"),
        (("summary", "--help"), "--json"),
        (("synthesize", "--help"), "--preset"),
    ],
)
def test_the_container_answers(container: Path, command: tuple[str, ...], says: str):
    done = start(container, *command)
    assert done.returncode == 0, done.stderr
    assert says in done.stdout


@pytest.mark.slow
def test_the_container_runs_its_own_copy(container: Path):
    where = "import kicc_ml.apps.configuration as launch; print(launch.CONFIGS)"
    python = container / ".venv" / "bin" / "python"
    done = subprocess.run(
        [str(python), "-c", where],
        cwd=container,
        capture_output=True,
        text=True,
        check=True,
        env=without_python_path(),
    )
    assert Path(done.stdout.strip()) == container / "configs"


@pytest.mark.slow
def test_relative_paths_are_those_of_the_working_directory(container: Path):
    done = start(container, "synthesize", "made_here", "--tables-only")
    assert done.returncode == 0, done.stderr
    assert (container.parent / "made_here").is_dir()


@pytest.mark.slow
def test_a_users_error_leaves_the_container_with_status_2(container: Path):
    done = start(container, "train", "experiment=typo")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
