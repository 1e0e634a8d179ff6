"""Whether a demonstration run is as good as it must be: ``python .ci/demo_floors.py RUN``; exit status 1 if not."""

import json
import sys
from pathlib import Path

#: Least figures of ``summary.json`` over hospitals the models never saw: agreement of the lesions with the true
#: ones, and the share of patients whose severity is within 2 of 24 points. The budgets of the demonstration are in
#: seconds, so a busy machine learns less: these are what it must reach even then, below the 0.75 and 0.90 aimed at.
FLOORS = {
    ("segmentation", "lesion", "dice", "mean"): 0.65,
    ("severity", "score", "within_2"): 0.75,
}


def main(run: Path) -> int:
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    failed = 0
    for path, floor in FLOORS.items():
        figure = summary
        for key in path:
            figure = figure[key]
        enough = figure is not None and figure >= floor
        failed += not enough
        shown = "not computed" if figure is None else f"{figure:.3f}"
        print(f"{'.'.join(path)}: {shown}, at least {floor:.2f}: {'yes' if enough else 'NO'}")
    if failed:
        print(f"{run}: {failed} figure(s) below their floor", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
