"""A Parametric Map is the probability where it was predicted, laid out as viewers stack it over the scan."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from kicc_ml.core.types import Series
from kicc_ml.dicom.results.segmentation import PredictionSource, make_parametric_map
from kicc_ml.dicom.results.write import ScanFindings, write_objects
from tests.support.ball_findings import STACKS, find_balls, laid_on, voxels_lps_mm


@pytest.fixture(scope="module", params=["feet first", "tilted", "multi-frame"])
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Series, ScanFindings, Path]:
    folder = tmp_path_factory.mktemp("map")
    STACKS[request.param](folder / "scan")
    series, findings = find_balls(folder / "scan")
    write_objects(PredictionSource(series, request.param, "0.1.0"), findings, folder / "out")
    return series, findings, folder / "out"


def test_map_is_the_probability_of_every_voxel_of_the_scan(written):
    _, findings, folder = written
    dataset = pydicom.dcmread(folder / "map.dcm")
    drawn = laid_on(findings, dataset, list(range(dataset.NumberOfFrames)))
    np.testing.assert_array_equal(drawn, findings.probability_xyz)
    assert (dataset.Columns, dataset.Rows, dataset.NumberOfFrames) == findings.volume.array.shape


def test_frames_of_the_map_rise_along_the_normal_of_the_slices_as_viewers_stack_them(written):
    dataset = pydicom.dcmread(written[2] / "map.dcm")
    first_voxels_mm = np.array([voxels_lps_mm(dataset, frame)[0, 0] for frame in range(dataset.NumberOfFrames)])
    cosines = np.array(dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient)
    heights_mm = first_voxels_mm @ np.cross(cosines[:3], cosines[3:])
    assert (np.diff(heights_mm) > 0).all()


def test_a_map_that_is_too_large_is_the_probability_within_the_box_of_the_lungs(written, monkeypatch):
    series, findings, _ = written
    monkeypatch.setattr("kicc_ml.dicom.results.segmentation.MAX_WHOLE_MAP_BYTES", 1000)
    lungs = findings.masks["right_lung"] | findings.masks["left_lung"]
    source = PredictionSource(series, "cut", "0.1.0")
    dataset = make_parametric_map(source, findings.volume, findings.probability_xyz, lungs)
    drawn = laid_on(findings, dataset, list(range(dataset.NumberOfFrames)))
    np.testing.assert_array_equal(drawn[lungs], findings.probability_xyz[lungs])
    assert dataset.Rows * dataset.Columns * dataset.NumberOfFrames < findings.volume.array.size


def test_a_viewer_can_name_every_series_of_results(written):
    described = [pydicom.dcmread(path).SeriesDescription for path in written[2].glob("*.dcm")]
    assert len(set(described)) == 5
    assert all("research use only" in text for text in described)
