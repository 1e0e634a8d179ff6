"""OHIF opens what the pipeline writes: Segmentation and Parametric Map lie over the CT where they were predicted."""

import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pydicom
import pytest
from PIL import Image

from kicc_ml.core.errors import UserError
from kicc_ml.dicom.results.segmentation import PredictionSource
from kicc_ml.dicom.results.write import ScanFindings, write_objects
from tests.support.ball_findings import STACKS, find_balls

ROOT = Path(__file__).resolve().parents[1]
WITHIN_MS = 120_000
#: Where OHIF is kept between runs of the tests.
FETCHED = ROOT / "build" / "ohif"
#: Values [slice, row, column] of the map that OHIF laid over the CT, as percent.
MAP_VALUES = """() => {
    const maps = cornerstone.cache.getVolumes().filter(
        volume => volume?.volumeId.startsWith('pmap.') && volume.loadStatus?.loaded);
    return maps.length ? Array.from(maps[0].voxelManager.getCompleteScalarDataArray()) : null;
}"""
#: Voxels of each segment by its label.
SEGMENT_VOXELS = """() => {
    const [segmentation] = services.segmentationService.getSegmentations();
    const counted = {};
    const { labelmaps, imageIds } = segmentation.representationData.Labelmap;
    const ids = labelmaps ? Object.values(labelmaps).flatMap(layer => layer.imageIds) : imageIds;
    for (const id of ids) {
        for (const value of cornerstone.cache.getImage(id).voxelManager.getScalarData()) {
            counted[value] = (counted[value] ?? 0) + 1;
        }
    }
    return Object.values(segmentation.segments).map(segment => [segment.label, counted[segment.segmentIndex] ?? 0]);
}"""


def load_demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo_hospital", ROOT / "docker" / "demo_hospital.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


demo = load_demo()


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> tuple[ScanFindings, list[Path]]:
    folder = tmp_path_factory.mktemp("predicted")
    STACKS["axial"](folder / "scan")
    series, findings = find_balls(folder / "scan")
    written = write_objects(PredictionSource(series, "ohif", "0.1.0"), findings, folder / "out")
    return findings, [*series.files, *written]


@pytest.fixture(scope="module")
def viewer(predicted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the study in OHIF, which reads it from Orthanc."""
    if missing := demo.find_missing():
        pytest.skip(f"programs are missing: apt-get install {missing}")
    try:
        ohif = demo.fetch_ohif(FETCHED)
    except UserError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("hospital")
    demo.make_folders(folder / "h")
    values = demo.choose_values(folder / "h", ohif, demo.find_free_ports(5))
    with demo.running_pacs(folder / "h", values):
        demo.send(predicted[1], values["orthanc"])
        study = pydicom.dcmread(predicted[1][0]).StudyInstanceUID
        yield f"http://{values['listen']}/viewer?StudyInstanceUIDs={study}"


@pytest.fixture
def page(viewer: str) -> Iterator:
    """The study in OHIF, drawn by Chromium's own WebGL, without its introductions."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")
    path = demo.find_program("chromium")
    if path is None:
        pytest.skip("no chromium on this machine")
    drawn = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    quiet = ["--no-sandbox", "--no-first-run", "--disable-background-networking"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=[*drawn, *quiet])
        page = browser.new_page(viewport={"width": 1400, "height": 800})
        page.set_default_timeout(WITHIN_MS)
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(viewer)
        page.get_by_text("Skip all").click()
        page.get_by_text("Confirm and hide").click()
        yield page
        browser.close()


def open_series(page, kind: str) -> None:
    page.locator('[data-cy^="study-browser-thumbnail-no-image"]').filter(has_text=kind).first.dblclick()


def count_coloured(page) -> int:
    """Pixels of the viewport that are no shade of grey, below its own buttons."""
    page.wait_for_timeout(3000)  # OHIF draws once its data are there, and tells nobody when it has
    box = page.locator(".cornerstone-viewport-element").first.bounding_box()
    clip = {"x": box["x"] + 80, "y": box["y"] + 160, "width": box["width"] - 160, "height": box["height"] - 240}
    picture = np.asarray(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")).astype(int)
    return int((picture.max(axis=-1) - picture.min(axis=-1) > 60).sum())


@pytest.mark.slow
def test_ohif_shows_the_segments_over_the_ct_voxel_for_voxel(page, predicted):
    findings, _ = predicted
    assert count_coloured(page) == 0
    open_series(page, "SEG")
    page.get_by_text("Yes", exact=True).click()
    assert count_coloured(page) > 1000
    masks = findings.masks
    assert dict(page.evaluate(SEGMENT_VOXELS)) == {
        "right lung": np.count_nonzero(masks["right_lung"]),
        "left lung": np.count_nonzero(masks["left_lung"]),
        "ground glass and other lesion": np.count_nonzero(masks["lesion"] & ~masks["consolidation"]),
        "consolidation": np.count_nonzero(masks["consolidation"]),
    }


@pytest.mark.slow
def test_ohif_shows_the_map_over_the_ct_and_the_ct_is_grey_again_without_it(page, predicted):
    findings, _ = predicted
    open_series(page, "PMAP")
    page.wait_for_function(MAP_VALUES)
    assert count_coloured(page) > 1000
    shown = np.array(page.evaluate(MAP_VALUES)).reshape(findings.probability_xyz.T.shape)
    np.testing.assert_allclose(shown, 100 * findings.probability_xyz.T, rtol=1e-5)
    page.locator('[data-cy="study-browser-thumbnail"]').filter(has_text="CT").first.dblclick()
    assert count_coloured(page) == 0


@pytest.mark.slow
def test_ohif_asks_nobody_but_its_own_address(page, viewer):
    own = viewer.split("/viewer")[0]
    assert [url for url in page.asked if not url.startswith((own, "blob:", "data:"))] == []


@pytest.mark.slow
def test_the_viewer_writes_nothing_into_the_pacs(page, viewer):
    own = viewer.split("/viewer")[0]
    answer = page.request.post(f"{own}/dicom-web/studies", data=b"x", headers={"Content-Type": "application/dicom"})
    assert answer.status == 403
