"""A DICOM folder of 300 slices of 512 x 512 to all that a clinician gets, on two cores, beside MONAI's sliding window.

All outputs: masks, severity, page, sheet, montage, SEG, Parametric Map, SR, Secondary Capture, PDF. What is not the
network's own time is compared with MONAI's ``sliding_window_inference`` (float32, overlap 0.5, the whole volume) with
the same weights; the scan, the network and MONAI's way are those of ``test_infer``.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import generate_uid

from tests.support.phantom_files import INTERCEPT, write_image
from tests.support.whole_scan import CANONICAL, CORES, NETWORK, PATCH, PROCESS, ROOT, SIZES, SPACING_MM

#: What is asked: of MONAI's time, and in all.
LARGEST_SHARE = 0.25
MOST_GIB = 3.0
NETWORK_STAGES = ("lungs", "lesions")

#: From the folder to all outputs in a process of its own: seconds by stage and in all, peak bytes of all.
OURS = """
import json, sys, time
import torch
from pathlib import Path
import pandas as pd
from safetensors.torch import load_file
from kicc_ml.clinic.new_scan import NewScanPipeline
from kicc_ml.data.canonical import CanonicalCT
from kicc_ml.clinic.outputs import OofCases, ModelProvenance
from kicc_ml.dicom.index.sources import find_scans
from kicc_ml.models.segmenter import Segmenter
from kicc_ml.models.networks import build_network
from kicc_ml.prediction.segmentation import predict_series, read_seconds
from kicc_ml.core.regions import REGIONS
from tests.support.peak_memory import read_peak_bytes

folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
torch.set_num_threads(settings["cores"])
network = build_network(settings["network"], settings["sizes"]).eval()
network.load_state_dict(load_file(folder / "weights.safetensors"))
canonical = CanonicalCT(**settings["canonical"])
segmenter = Segmenter([network], canonical, settings["patch"], REGIONS, "hu", True, 0.5, ((),))
clinic = NewScanPipeline(OofCases(pd.DataFrame()), ModelProvenance("ab" * 32, {"model": "benchmark"}), dicom=True)
started = time.perf_counter()
series = find_scans(folder / "dicom", "hu", True)
intake = time.perf_counter() - started
rows, failed = predict_series(segmenter, series, folder / "out", clinic)
total = time.perf_counter() - started
(case_id,) = series
peak = read_peak_bytes()
print(json.dumps({"failed": failed, "intake": intake, "total": total, "bytes": peak, "case": case_id,
                  "stages": read_seconds(folder / "out" / case_id)}))
"""


def settings() -> str:
    plain = {"cores": CORES, "network": NETWORK, "sizes": SIZES, "canonical": CANONICAL, "patch": PATCH}
    return json.dumps(plain)


def in_a_process(code: str, *arguments: str) -> dict:
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def source(folder: Path) -> Path:
    """The scan as a scanner exports it: a file for each slice, HU as unsigned numbers."""
    hu_xyz = np.load(folder / "scan.npy")
    (folder / "dicom").mkdir()
    study = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "FrameOfReferenceUID": "1.2.9"}
    for k in range(hu_xyz.shape[2]):
        stored = (hu_xyz[:, :, k].T.astype(np.int32) - INTERCEPT).clip(0).astype(np.uint16)
        place = {"InstanceNumber": k + 1, "ImagePositionPatient": [0, 0, k * SPACING_MM[2]]}
        grid = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": list(SPACING_MM[:2])}
        write_image(folder / "dicom" / f"{k}.dcm", np.ascontiguousarray(stored), **study, **place, **grid)
    return folder


def test_all_but_the_network_takes_a_quarter_of_monais_time_and_all_fits_in_three_gib(source: Path) -> None:
    theirs = in_a_process(PROCESS, "monai", str(source), "1", settings())["seconds"]["monai"][0]
    ours = in_a_process(OURS, str(source), settings())
    assert ours["failed"] == {}
    outside = ours["total"] - sum(ours["stages"][name] for name in NETWORK_STAGES)
    print(f"\nMONAI's sliding window {theirs:.1f} s; ours {ours['total']:.1f} s, outside the network {outside:.1f} s")
    print(
        f"intake {ours['intake']:.1f}, "
        + ", ".join(f"{name} {seconds:.1f}" for name, seconds in ours["stages"].items())
    )
    print(f"peak of all {ours['bytes'] / 2**30:.2f} GiB")
    written = {path.name for path in (source / "out" / ours["case"]).rglob("*.*")}
    assert {"page.html", "summary.pdf", "lesion.nii.gz", "segmentation.dcm", "map.dcm", "report.dcm"} <= written
    assert outside <= LARGEST_SHARE * theirs
    assert ours["bytes"] <= MOST_GIB * 2**30
