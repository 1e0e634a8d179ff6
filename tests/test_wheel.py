"""The wheel alone, without the repository at hand: commands and settings work from any folder."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DEMO = ("cohort=demo",)
#: Two folds of a few steps: what the network finds is of no interest.
LESION = (
    *("split=patient_kfold", "split.folds=2", "data.canonical.spacing_mm=[6,6,8]", "data.patch_size=[48,48,24]"),
    *("data.patches_per_epoch=4", "network.channels=[4,8,8,8]", "trainer.max_time=null", "++trainer.max_steps=4"),
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="a wheel is built by hatchling without a network: pip install '.[dev]'")
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(folder)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_every_setting_template_and_script_of_the_page_is_in_the_wheel(wheel: Path):
    names = set(zipfile.ZipFile(wheel).namelist())
    configs = {f"kicc_ml/configs/{path.relative_to(ROOT / 'configs')}" for path in (ROOT / "configs").rglob("*.yaml")}
    others = [path for path in (ROOT / "kicc_ml").rglob("*") if path.suffix in (".j2", ".js", ".yaml")]
    assert configs | {str(path.relative_to(ROOT)) for path in others} <= names
    assert not [name for name in names if name.startswith(("tests/", "configs/", "docker/"))]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``bin`` of an environment that has the wheel; the dependencies are those of the one that runs the tests."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    subprocess.run(
        [str(folder / "bin" / "python"), "-m", "pip", "install", "--no-deps", "-q", "--force-reinstall", str(wheel)],
        check=True,
        capture_output=True,
    )
    return folder / "bin"


def run(program: Path, folder: Path, *arguments: str) -> str:
    """What a command prints in ``folder``; it has to end well."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(program), *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def here(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of somebody who has nothing but the wheel; the demonstration lies in it as soon as it is asked for."""
    folder = tmp_path_factory.mktemp("here")
    listed = run(installed / "kicc-ml", folder, "cases", *DEMO)
    assert len(listed.splitlines()) == 48
    return folder


@pytest.mark.slow
def test_what_is_installed_is_the_wheel_and_not_the_repository(installed: Path, tmp_path: Path):
    where = run(installed / "python", tmp_path, "-c", "import kicc_ml; print(kicc_ml.__file__)")
    assert Path(where.strip()).is_relative_to(installed.parent)
    assert run(installed / "kicc-ml", tmp_path, "--version").strip().endswith(version("kicc_ml"))


@pytest.mark.slow
def test_from_an_empty_folder_lesions_are_trained_evaluated_predicted_and_viewed(installed: Path, here: Path):
    kicc_ml = installed / "kicc-ml"
    trained = run(kicc_ml, here, "train", "experiment=lesion_ct", *DEMO, *LESION)
    assert trained.splitlines()[-1] == "report: runs/lesion_ct/report.html"
    judged = run(kicc_ml, here, "evaluate", "runs=runs/lesion_ct")
    assert judged.splitlines()[-1] == "report: runs/lesion_ct/report.html"
    scans = next(path.parent for path in sorted(here.glob("repository/demo/*/*/*/CT-*/*")) if path.is_file())
    run(kicc_ml, here, "predict", "-i", str(scans), "-o", "results", "--run", "runs/lesion_ct", "--report")
    pages = [path.relative_to(here / "results") for path in (here / "results").glob("*/page.html")]
    assert len(pages) == 1
    run(kicc_ml, here, "view", "results", "--no-browse")
    assert str(pages[0]) in (here / "results" / "index.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_from_an_empty_folder_outcomes_are_trained_and_evaluated(installed: Path, here: Path):
    trained = run(installed / "kicc-ml", here, "train", "experiment=clinical", *DEMO)
    assert trained.splitlines()[-1] == "report: runs/clinical/report.html"
    run(installed / "kicc-ml", here, "evaluate", "runs=runs/clinical")
    assert {path.name for path in here.iterdir()} <= {"repository", "runs", "store", "results"}
