"""Pin what the images install, with hashes: ``python docker/lock.py`` writes ``docker/requirements*.lock`` (needs uv).

PyTorch and what its CUDA build needs are in a file of their own, because a CPU image takes another build of PyTorch.
"""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: What builds the package itself.
BUILD_NEEDS = "hatchling>=1.27\neditables>=0.5\n"
COMMAND = (
    *("uv", "pip", "compile", "pyproject.toml", "-", "--extra", "serve", "--universal", "--python-version", "3.11"),
    *("--generate-hashes", "--no-annotate", "--no-header", "--no-emit-index-url", "--quiet"),
)
CUDA = re.compile(r"(torch|triton|nvidia-.*|cuda-.*)==")
HEADERS = {
    "requirements.lock": "# All that the images install but for PyTorch; made by: python docker/lock.py\n",
    "requirements-cuda.lock": "# PyTorch, built for CUDA, and what it needs of it; made by: python docker/lock.py\n",
}


def main() -> None:
    """Write both files."""
    done = subprocess.run(COMMAND, input=BUILD_NEEDS, cwd=ROOT, capture_output=True, text=True, check=True)
    requirements = re.split(r"^(?=\S)", done.stdout, flags=re.MULTILINE)[1:]
    for name, header in HEADERS.items():
        chosen = [one for one in requirements if bool(CUDA.match(one)) == (name == "requirements-cuda.lock")]
        (ROOT / "docker" / name).write_text(header + "".join(chosen), encoding="utf-8")


if __name__ == "__main__":
    main()
