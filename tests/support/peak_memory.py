"""The most memory that this process took."""

from pathlib import Path


def read_peak_bytes() -> int:
    """Bytes of RAM at their highest since this program started.

    Not ``ru_maxrss``: a program that a large test process starts inherits its highest value.
    """
    status = Path("/proc/self/status").read_text()
    kibibytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(kibibytes) * 1024
