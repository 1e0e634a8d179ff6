"""The wheel alone, without the repository at hand: commands and settings work from any folder."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHORT = ["experiment=clinical", "cohort=demo", "cohort.root=here"]


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


def start(program: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [str(program), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def run(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return start(installed / "kicc-ml", folder, *arguments)


@pytest.mark.slow
def test_from_an_empty_folder_a_study_is_trained_evaluated_and_listed(installed: Path, tmp_path: Path):
    where = start(installed / "python", tmp_path, "-c", "import kicc_ml; print(kicc_ml.__file__)").stdout
    assert str(ROOT) not in where
    trained = run(installed, tmp_path, "train", *SHORT)
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout.splitlines()[-1] == "report: runs/clinical/report.html"
    judged = run(installed, tmp_path, "evaluate", "runs=runs/clinical")
    assert judged.returncode == 0, judged.stderr
    listed = run(installed, tmp_path, "cases", "cohort=demo", "cohort.root=here")
    assert len(listed.stdout.splitlines()) == 48
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "runs", "store"]


@pytest.mark.slow
def test_from_an_empty_folder_scans_are_predicted_and_listed(installed: Path, tmp_path: Path):
    quick = [
        "experiment=lesion_ct",
        "cohort=demo",
        "cohort.root=here",
        "split=all",
        "data=ct_patches",
        "network=unet_light",
    ]
    quick += ["network.channels=[4,8,8,8]", "data.canonical.spacing_mm=[6,6,8]", "data.patch_size=[48,48,24]"]
    trained = run(installed, tmp_path, "train", *quick, "data.patches_per_epoch=16", "trainer.max_steps=8")
    assert trained.returncode == 0, trained.stderr
    scans = next(path.parent for path in sorted(tmp_path.glob("here/*/*/*/CT-*/*")) if path.is_file())
    predicted = run(installed, tmp_path, "predict", "-i", str(scans), "-o", "results", "--run", "runs/lesion_ct")
    assert predicted.returncode in (0, 2, 3), predicted.stderr  # eight steps may find no lungs
    assert "Traceback" not in predicted.stderr
