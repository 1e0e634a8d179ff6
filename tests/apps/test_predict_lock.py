"""Two processes that predict into one folder of results: the second is told of the first."""

from pathlib import Path

from tests.apps import test_predict_names as names
from tests.core.test_locks import other_process

predict = names.predict


def test_the_second_process_in_a_folder_of_results_is_told_who_predicts_there(tmp_path: Path, predict: names.Run):
    out = tmp_path / "results"
    out.mkdir()
    names.save(tmp_path / "in" / "one.nii.gz")
    process = other_process(out / ".lock")
    try:
        status, _, err = predict("-i", tmp_path / "in", "-o", out)
        assert status == 2
        assert f"the folder of results {out} is being written by process {process.pid}" in err
        assert [path.name for path in out.iterdir()] == [".lock"]
    finally:
        process.kill()
        process.wait()
    status, _, err = predict("-i", tmp_path / "in", "-o", out)  # the lock of a killed process holds nobody up
    assert status == 0, err
    assert not (out / ".lock").exists()
