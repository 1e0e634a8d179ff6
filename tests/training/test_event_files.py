"""TensorBoard's files name no machine."""

import socket
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from kicc_ml.training.event_files import drop_host_names


def test_event_files_name_no_machine_and_still_are_event_files(tmp_path: Path):
    for _ in range(2):
        with SummaryWriter(str(tmp_path)) as writer:
            writer.add_scalar("loss", 1.0, 0)
    (tmp_path / "hparams.yaml").write_text("{}")
    before = sorted(path.stat().st_size for path in tmp_path.iterdir())
    drop_host_names(tmp_path)
    drop_host_names(tmp_path)
    names = [path.name for path in tmp_path.iterdir()]
    assert not [name for name in names if socket.gethostname() in name]
    assert sum("tfevents" in name for name in names) == 2
    assert sorted(path.stat().st_size for path in tmp_path.iterdir()) == before


def test_a_host_whose_name_holds_dots_goes_too(tmp_path: Path):
    (tmp_path / "events.out.tfevents.1700000000.ct3.hospital.or.kr.812.0").touch()
    drop_host_names(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["events.out.tfevents.1700000000.812.0"]
