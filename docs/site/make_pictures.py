"""Pictures of README from a run of the demo: ``python docs/site/make_pictures.py runs/demo -o docs/pictures``.

It needs Chromium and the extra ``dev``. Take a run of the synthetic demo only: these pictures lie in the repository.
"""

import argparse
import csv
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

#: Pictures stand side by side in README, each about 430 px wide on a code host: twice that is sharp on any screen.
WIDTH_PX = 1000
#: A patient's page is cut below its first screen.
PAGE_HEIGHT_PX = 760
#: A picture of few colours is a fifth of the size.
COLOURS = 96


def choose_case(run: Path) -> str:
    """Choose the held-out case of the best lesion Dice, as README says of its picture."""
    with (run / "cases.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["lesion_dice"]]
    return max(rows, key=lambda row: float(row["lesion_dice"]))["case_id"]


def save_small(screenshot: Path) -> None:
    """Save a picture again with few colours."""
    with Image.open(screenshot) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(screenshot, optimize=True)


def draw(page: Page, run: Path, out: Path) -> None:
    """Draw the page of one patient, and the first forest plot of the report."""
    lesions = run / "lesion_ct"
    page.goto((lesions / "severity" / choose_case(lesions) / "page.html").resolve().as_uri())
    page.wait_for_timeout(1000)  # the page draws its slices after it is loaded
    page.screenshot(path=out / "page.png")
    page.goto((run / "report.html").resolve().as_uri())
    forest = page.locator("figure", has_text="AUC by hospital").locator("svg, img").first
    forest.screenshot(path=out / "forest.png")


def main() -> None:
    """Draw both pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the demo's run")
    parser.add_argument("-o", dest="out", type=Path, default=Path("docs/pictures"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH_PX, "height": PAGE_HEIGHT_PX})
        draw(page, arguments.run, arguments.out)
        browser.close()
    for name in ("page.png", "forest.png"):
        save_small(arguments.out / name)


if __name__ == "__main__":
    main()
