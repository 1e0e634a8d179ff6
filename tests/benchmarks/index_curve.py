"""Time and memory of ``kicc-ml index`` by number of files: ``python -m tests.benchmarks.index_curve FOLDER SIZE...``.

The files are small slices with the header of a scanner, 100 in a series, 4 series of a patient, 17 hospitals. Each size
is indexed twice: new, and unchanged. They stay in FOLDER, so that a second call need not write them.
"""

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil

from tests.support.plain_slices import slice_dataset

FILES_A_SERIES, SERIES_A_PATIENT, SITES = 100, 4, 17
SAMPLE_S = 0.2
COMMAND = (sys.executable, "-c", "from kicc_ml.apps.cli import main; main()", "index")
#: In the template, what differs between files: UID of image, number of series and patient, slice position.
IMAGE, SERIES, PATIENT, POSITION = b"77777777", b"8888888", b"6666666", b"99999"


def make_template() -> bytes:
    """Make a small CT slice with the elements that a scanner writes."""
    tags = {"SOPInstanceUID": f"1.2.3.1{IMAGE.decode()}", "SeriesInstanceUID": f"1.2.4.1{SERIES.decode()}"}
    tags |= {"StudyInstanceUID": f"1.2.5.1{PATIENT.decode()}", "PatientID": f"P{PATIENT.decode()}"}
    tags |= {"PatientName": "Hong^Gildong", "ImagePositionPatient": [0, 0, f"{POSITION.decode()}.0"], "KVP": 120}
    tags |= {"Manufacturer": "SIEMENS", "ManufacturerModelName": "SOMATOM", "ConvolutionKernel": "B30f"}
    tags |= {"SliceThickness": 2, "StudyTime": "101500", "SeriesDate": "20200301", "SeriesTime": "101600"}
    tags |= {"AcquisitionDate": "20200301", "AcquisitionTime": "101700", "ContentDate": "20200301", "Exposure": 90}
    tags |= {"SeriesDescription": "Thorax 2.0", "ProtocolName": "Thorax", "AcquisitionNumber": 1, "InstanceNumber": 7}
    tags |= {"BodyPartExamined": "CHEST", "PatientPosition": "HFS", "WindowCenter": -600, "WindowWidth": 1200}
    content = io.BytesIO()
    slice_dataset(np.zeros((4, 4), np.uint16), **tags).save_as(content, enforce_file_format=True)
    return content.getvalue()


def write_repository(folder: Path, files: int) -> Path:
    """Write so many files, unless they are there."""
    if (done := folder.with_suffix(".done")).exists():
        return folder
    template = make_template()
    for number in range(files):
        series = number // FILES_A_SERIES
        patient = series // SERIES_A_PATIENT
        inside = folder / f"site-{patient % SITES:02d}" / f"{patient:07d}" / f"{series:07d}"
        if number % FILES_A_SERIES == 0:
            inside.mkdir(parents=True, exist_ok=True)
        changes = ((IMAGE, b"%08d" % number), (SERIES, b"%07d" % series), (PATIENT, b"%07d" % patient))
        content = template
        for old, new in (*changes, (POSITION, b"%05d" % (2 * (number % FILES_A_SERIES)))):
            content = content.replace(old, new)
        (inside / f"{number:08d}").write_bytes(content)
    done.touch()
    return folder


def measure(repository: Path, environment: dict[str, str]) -> tuple[float, float, float]:
    """Index a repository; returns the seconds on the clock, those of all processors, and the peak in MiB."""
    start, peak = time.perf_counter(), 0
    before = os.times()
    out = repository.with_suffix(".parquet")
    with subprocess.Popen(
        [*COMMAND, str(repository), "--out", str(out)], env=environment, stdout=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            peak = max(peak, count_proportional_bytes(process.pid))
            time.sleep(SAMPLE_S)
    after = os.times()
    if process.returncode != 0:
        raise SystemExit(f"the index ended with status {process.returncode}")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - start, used, peak / 2**20


def count_proportional_bytes(pid: int) -> int:
    """Sum the proportional set sizes of a process and its descendants: what they share counts once."""
    total = 0
    try:
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            total += one.memory_full_info().pss
    except psutil.Error:  # one of them ended meanwhile
        pass
    return total


def main() -> None:
    """Measure each size and print a row of a table for it."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "KICC_KEYS": str(folder / "keys")}
    print("| files | first: s | processor s | peak MiB | again: s | peak MiB |")
    for size in map(int, sys.argv[2:]):
        repository = write_repository(folder / f"of-{size}", size)
        (seconds, used, peak), (again, _, peak_again) = (measure(repository, environment) for _ in range(2))
        print(f"| {size:,} | {seconds:.1f} | {used:.0f} | {peak:.0f} | {again:.1f} | {peak_again:.0f} |", flush=True)


if __name__ == "__main__":
    main()
