"""An error points to a page of the documentation that is there, under a heading that is there."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kicc_ml.apps.configuration import report_error
from kicc_ml.apps.search_study import import_optuna
from kicc_ml.cohort.repository import repository
from kicc_ml.core import help_pages
from kicc_ml.core.errors import UserError, find_page
from kicc_ml.core.parts import refuse_untrusted
from kicc_ml.core.pseudonym import check_key
from kicc_ml.core.types import Case
from kicc_ml.data.endpoints import endpoints_of
from kicc_ml.data.mask_file import find_marked_voxels
from kicc_ml.dicom.index.sources import find_scans
from kicc_ml.models.pretrained import find_weights, load_into
from kicc_ml.runs.folder import fold_folders

ROOT = Path(__file__).resolve().parents[2]
PAGES = {name: page for name, page in vars(help_pages).items() if name.isupper()}


def headings_of(document: Path) -> set[str]:
    found = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_and_its_heading_are_there(name: str):
    path, _, heading = PAGES[name].partition("#")
    assert not heading or heading in headings_of(ROOT / path)


@pytest.mark.parametrize("name", PAGES)
def test_an_error_of_the_package_points_to_each_page(name: str):
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "kicc_ml").rglob("*.py"))
    assert re.search(rf"page ?= ?{name}\b", code)


def refused_series(folder: Path) -> None:
    (folder / "scan.dcm").write_bytes(b"no DICOM")
    find_scans(folder, "hu", True)


def no_hospitals(folder: Path) -> None:
    repository(folder)


def mask_of_four_values(folder: Path) -> None:
    find_marked_voxels(np.arange(4), folder / "lesion.nii.gz")


def endpoint_that_nobody_has(folder: Path) -> None:
    endpoints_of([Case("a", "siteA", "a", endpoints={"death": 1.0})], ["niv"])


def weights_that_are_nowhere(folder: Path) -> None:
    find_weights(folder / "nothing")


def weights_of_another_network(folder: Path) -> None:
    load_into(nn.Linear(2, 2), {"other": torch.zeros(3)}, rename={}, min_share=0.5)


def key_of_somebody_else(folder: Path) -> None:
    check_key("0123456789abcdef", b"x" * 32, folder)


def part_that_is_not_trusted(folder: Path) -> None:
    refuse_untrusted({"_target_": "mylab.nets.Net"}, (), (), {})


def missing_extra(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "optuna", None)
        import_optuna()


def no_run(folder: Path) -> None:
    fold_folders(folder)


@pytest.mark.parametrize(
    ("situation", "page"),
    [
        (refused_series, help_pages.REFUSED_SERIES),
        (no_hospitals, help_pages.REPOSITORY),
        (mask_of_four_values, help_pages.MASKS),
        (endpoint_that_nobody_has, help_pages.CLINICAL_TABLE),
        (weights_that_are_nowhere, help_pages.WEIGHTS_TO_START_FROM),
        (weights_of_another_network, help_pages.WEIGHTS_TO_START_FROM),
        (key_of_somebody_else, help_pages.KEY),
        (part_that_is_not_trusted, help_pages.TRUST),
        (missing_extra, help_pages.EXTRAS),
        (no_run, help_pages.FIRST_RUN),
    ],
)
def test_what_goes_wrong_for_a_newcomer_points_to_the_page_that_helps(situation, page: str, tmp_path: Path):
    with pytest.raises(UserError) as refused:
        situation(tmp_path)
    assert find_page(refused.value) == page


def test_the_door_says_the_page_in_one_line_below_the_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(UserError) as refused:
        fold_folders(tmp_path)
    assert report_error(refused.value) == 2
    error, page = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {tmp_path} holds no finished run")
    assert page == "help: docs/get-started.md#install-and-run"


def test_an_error_made_from_another_points_to_the_page_of_that_one(capsys: pytest.CaptureFixture[str]):
    outer = UserError("the fold cannot be read")
    outer.__cause__ = UserError("the key is another", page=help_pages.KEY)
    report_error(outer)
    assert capsys.readouterr().err.splitlines()[1:] == [f"help: {help_pages.KEY}"]


def test_an_error_without_a_page_is_one_line(capsys: pytest.CaptureFixture[str]):
    report_error(UserError("correct the cell"))
    assert capsys.readouterr().err == "error: correct the cell\n"


class OutOfMemoryError(RuntimeError):
    """As PyTorch calls that of a GPU."""


def allocate_too_much() -> None:
    np.empty(2**60, np.uint8)


def fail_on_gpu() -> None:
    raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has 79 GiB")


def fail_on_cpu() -> None:
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")


@pytest.mark.parametrize("fail", [allocate_too_much, fail_on_gpu, fail_on_cpu])
def test_too_little_memory_is_one_message_with_the_settings_that_need_less(fail, capsys: pytest.CaptureFixture[str]):
    with pytest.raises((MemoryError, RuntimeError)) as failed:
        fail()
    assert report_error(failed.value) == 2
    error, page = capsys.readouterr().err.splitlines()
    assert error.startswith("error: memory is not enough (")
    assert "data.batch_size" in error
    assert page == "help: docs/settings.md#memory"


def test_another_runtime_error_is_not_called_one_of_memory(capsys: pytest.CaptureFixture[str]):
    assert report_error(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) == 1
    assert "memory is not enough" not in capsys.readouterr().err
