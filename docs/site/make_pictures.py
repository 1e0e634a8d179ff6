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
VIEWER_HEIGHT_PX = 600
#: OHIF draws some seconds after it has what it draws.
DRAWN_MS = 15_000
#: A picture of few colours is a fifth of the size.
COLOURS = 96
#: WebGL without a GPU, for the viewer.
CHROMIUM = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


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


def draw_viewer(page: Page, address: str, out: Path) -> None:
    """Draw a study with its Parametric Map in OHIF."""
    page.set_viewport_size({"width": WIDTH_PX, "height": VIEWER_HEIGHT_PX})
    page.goto(address)
    page.get_by_text("Skip all").click()
    page.get_by_text("Confirm and hide").click()
    page.locator('[data-cy^="study-browser-thumbnail-no-image"]').filter(has_text="PMAP").first.dblclick()
    page.wait_for_timeout(DRAWN_MS)
    page.screenshot(path=out / "viewer.png")


def main() -> None:
    """Draw the pictures of the run, and that of the viewer where its address is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the demo's run")
    parser.add_argument("-o", dest="out", type=Path, default=Path("docs/pictures"))
    parser.add_argument("--viewer", help="address of a study in OHIF, as docker/demo_hospital.py starts it")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM)
        page = browser.new_page(viewport={"width": WIDTH_PX, "height": PAGE_HEIGHT_PX})
        draw(page, arguments.run, arguments.out)
        if arguments.viewer:
            draw_viewer(page, arguments.viewer, arguments.out)
        browser.close()
    for name in ("page.png", "forest.png", *(["viewer.png"] if arguments.viewer else [])):
        save_small(arguments.out / name)


if __name__ == "__main__":
    main()
