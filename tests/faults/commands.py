"""The commands that are disturbed, on inputs as small as they can be, and the inputs themselves."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from tests.faults.process import Running

SYNTHESIZE = ("kicc-ml", "synthesize", "--preset", "demo", "--sites", "2", "--patients", "8", "--seed", "5")
SMALL = ("--matrix", "32", "--slices", "12")
#: Budgets in steps, so that a result is the same however busy the machine is.
LESION = (
    *("train.py", "experiment=lesion_ct", "data=ct_patches", "network=unet_light", "network.channels=[4,8,8,8]"),
    *("data.canonical.spacing_mm=[6,6,8]", "data.patch_size=[48,48,24]", "data.patches_per_epoch=4"),
    *("trainer.max_time=null", "cohort=repository", "cohort.root={inputs}/repository"),
)
INTO_OUT = ("run_dir={out}/run", "store_dir={out}/store")
EVERYBODY = ("split=all", "split.val_fraction=0")
#: So many that lungs are found in the scans that predict gets.
STEPS_TO_FIND_LUNGS = 150


@dataclass(frozen=True)
class Command:
    """``given`` lies in the results before it starts. Moments are drawn until the file ``until`` is there."""

    words: tuple[str, ...]
    given: dict[str, str] = field(default_factory=dict)
    until: str = ""


COMMANDS = {
    "synthesize": Command((*SYNTHESIZE, *SMALL, "{out}/repository")),
    "index": Command(
        (
            *("kicc-ml", "index", "{inputs}/repository", "{inputs}/archive.zip", "--decode"),
            *("--out", "{out}/index.parquet", "--html", "{out}/index.html"),
        )
    ),
    "prepare": Command((*LESION, *INTO_OUT, *EVERYBODY, "++trainer.max_steps=1"), until="run/flow.json"),
    "train": Command((*LESION, *INTO_OUT, "++trainer.max_steps=4")),
    "train-clinical": Command(
        (
            *("train.py", "experiment=clinical", "data.endpoints=[oxygen]"),
            *("cohort=repository", "cohort.root={inputs}/tables", *INTO_OUT),
        )
    ),
    "predict": Command(
        (
            *("kicc-ml", "predict", "-i", "{inputs}/repository/daegu-1", "-o", "{out}/results"),
            *("--run", "{inputs}/everybody", "--report", "--dicom"),
        ),
        given={"results": "results"},
    ),
    "evaluate": Command(
        ("evaluate.py", "runs={out}/trained", "cohort.root={inputs}/repository"), given={"trained": "trained"}
    ),
    "export-dataset": Command(
        ("kicc-ml", "export-dataset", "{inputs}/repository", "{inputs}/archive.zip", "-o", "{out}/copy")
    ),
}

#: What evaluate writes into a run.
EVALUATED = ("report.html", "summary.json", "summary.csv", "cases.csv", "checklist.csv", "table_1.csv", "figures")


def make_inputs(inputs: Path) -> None:
    """A repository, one as a zip file, one of tables alone, and two runs: of all cases, and of each hospital."""
    inputs.mkdir()
    _run(inputs, *SYNTHESIZE, *SMALL, "{inputs}/repository")
    _run(inputs, *SYNTHESIZE[:-1], "6", *SMALL, "{inputs}/zipped")
    shutil.make_archive(str(inputs / "archive"), "zip", inputs / "zipped")
    _run(inputs, *SYNTHESIZE[:4], "--sites", "2", "--patients", "16", "--tables-only", "{inputs}/tables")
    for site in set(pd.read_csv(inputs / "tables" / "clinical.csv")["site"]):
        (inputs / "tables" / site).mkdir()
    of_inputs = ("run_dir={inputs}/everybody", "store_dir={inputs}/store")
    _run(inputs, *LESION, *of_inputs, *EVERYBODY, f"++trainer.max_steps={STEPS_TO_FIND_LUNGS}")
    _run(inputs, *LESION, "run_dir={inputs}/trained", "store_dir={inputs}/store", "++trainer.max_steps=4")
    for name in EVALUATED:
        written = inputs / "trained" / name
        shutil.rmtree(written) if written.is_dir() else written.unlink(missing_ok=True)
    for source in (inputs / "archive.zip", inputs / "repository" / "daegu-1"):  # makes their keys
        _run(inputs, "kicc-ml", "index", str(source))
    (inputs / "results").mkdir()
    key = inputs / "results" / ".kicc-key"  # else each folder of results would get pseudonyms of its own
    key.write_text("0123456789abcdef" * 4)
    key.chmod(0o600)


def _run(inputs: Path, *words: str) -> None:
    keys = {"KICC_KEYS": str(inputs.parent / "keys"), "XDG_CACHE_HOME": str(inputs.parent / "cache")}
    running = Running([word.format(inputs=inputs) for word in words], inputs, keys, inputs.parent / "making")
    assert running.wait() == 0, running.stderr.read_text()[-3000:]
