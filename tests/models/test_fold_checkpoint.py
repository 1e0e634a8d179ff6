"""A checkpoint is whole, says whose it is, and no other fold takes it up."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kicc_ml.core.errors import TargetError, UserError
from kicc_ml.models.fold_checkpoint import FoldCheckpoints, Mark, read_checkpoint

MARK = Mark("seoul-1", "a" * 64, "b" * 64)


def save(folder: Path, mark: Mark = MARK) -> Path:
    path = folder / "last.ckpt"
    state = {"dirpath": str(folder), "best_k_models": {str(folder / "best.ckpt"): torch.tensor(0.5)}, "last": ""}
    checkpoint = {"global_step": 3, "state_dict": {"w": torch.arange(4.0)}, "callbacks": {"best": state}}
    FoldCheckpoints(folder, mark).save_checkpoint(checkpoint, path)
    return path


def test_what_was_written_is_read_back_and_holds_no_folder_of_this_machine(tmp_path: Path):
    path = save(tmp_path)
    assert str(tmp_path).encode() not in path.read_bytes()
    checkpoint = FoldCheckpoints(tmp_path, MARK).load_checkpoint(path)
    assert set(checkpoint) == {"global_step", "state_dict", "callbacks"}
    assert checkpoint["callbacks"]["best"]["dirpath"] == str(tmp_path)
    assert list(checkpoint["callbacks"]["best"]["best_k_models"]) == [str(tmp_path / "best.ckpt")]
    assert torch.equal(checkpoint["state_dict"]["w"], torch.arange(4.0))


def test_a_checkpoint_that_was_moved_finds_the_others_beside_it(tmp_path: Path):
    (tmp_path / "old").mkdir()
    save(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    checkpoint = FoldCheckpoints(tmp_path / "new", MARK).load_checkpoint(tmp_path / "new" / "last.ckpt")
    assert checkpoint["callbacks"]["best"]["dirpath"] == str(tmp_path / "new")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            replace(MARK, fold="daegu-1"),
            "a checkpoint of fold daegu-1, which may have seen the cases that fold seoul-1",
        ),
        (replace(MARK, split="c" * 64), "on other cases"),
        (replace(MARK, settings="c" * 64), "with other settings"),
    ],
)
def test_a_checkpoint_of_another_fold_is_refused_in_one_sentence(tmp_path: Path, other: Mark, said: str):
    path = save(tmp_path, other)
    with pytest.raises(UserError, match=said) as refused:
        FoldCheckpoints(tmp_path, MARK).load_checkpoint(path)
    assert "leave ckpt_path out to begin the fold anew" in str(refused.value)


@pytest.mark.parametrize("mark", [None, "seoul-1", {"fold": "seoul-1"}])
def test_a_checkpoint_that_does_not_say_whose_it_is_is_refused(tmp_path: Path, mark: object):
    torch.save({"global_step": 3, "kicc_ml_fold": mark}, tmp_path / "hpc_ckpt_1.ckpt")
    with pytest.raises(UserError, match="does not say of which fold it is"):
        FoldCheckpoints(tmp_path, MARK).load_checkpoint(tmp_path / "hpc_ckpt_1.ckpt")


@pytest.mark.parametrize("keep", [0, 1, 100, 600, -1, -100])
def test_a_checkpoint_that_was_cut_off_says_how_to_go_on(tmp_path: Path, keep: int):
    path = save(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"last\.ckpt cannot be read.*ckpt_path=FILE, or remove it") as refused:
        read_checkpoint(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(2), "text"])
def test_a_file_of_torch_that_is_no_checkpoint_is_refused(tmp_path: Path, content: object):
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="holds no training"):
        read_checkpoint(tmp_path / "a.ckpt")


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path):
    class Evil:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "called",)

    torch.save({"global_step": Evil()}, tmp_path / "a.ckpt")
    with pytest.raises(UserError):
        read_checkpoint(tmp_path / "a.ckpt")
    assert not (tmp_path / "called").exists()


def test_a_full_disk_leaves_the_former_checkpoint_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = save(tmp_path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TargetError, match="No space"):
        save(tmp_path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["last.ckpt"]
