"""From a scan to masks on its own grid, whatever way the scan lies."""

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from kicc_ml.clinic.outputs import make_display
from kicc_ml.clinic.page.page import PatientPage, Scan, write_page
from kicc_ml.core.errors import UserError
from kicc_ml.core.progress import StageTimer
from kicc_ml.core.regions import REGIONS
from kicc_ml.core.types import Series, SeverityMap, Volume
from kicc_ml.data.canonical import CanonicalCT, CanonicalCXR
from kicc_ml.data.mask_file import read_mask
from kicc_ml.dicom.series.image_files import make_nifti_series, make_radiograph_series
from kicc_ml.models.segmenter import Segmenter, decide
from kicc_ml.pictures.case_picture import draw_case_picture
from kicc_ml.prediction.lesion_threshold import choose_lesion_threshold
from kicc_ml.prediction.result import Result
from kicc_ml.prediction.segmentation import grade_severity, predict_series, read_seconds, read_severity, write_case
from kicc_ml.prediction.segmenters import make_segmenter
from kicc_ml.runs.folder import About, Fold
from kicc_ml.runs.settings import parse_settings
from tests.support.grey_value_network import LEFT, LESION, RIGHT, SOFT, WINDOW, ByValue, phantom_ras, segmenter


def scan(axes: str = "RAS") -> Volume:
    """The phantom with 2 x 2 x 3 mm voxels, its array stored along ``axes``; the patient lies as before."""
    image = nib.Nifti1Image(phantom_ras(), np.diag([2.0, 2.0, 3.0, 1.0]))
    own = nib.orientations.io_orientation(image.affine)
    turned = image.as_reoriented(nib.orientations.ornt_transform(own, nib.orientations.axcodes2ornt(axes)))
    return Volume(np.asarray(turned.dataobj), turned.affine, "hu")


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAS", "PSL", "IRP", "SAR"])
def test_masks_lie_on_the_scans_own_grid_whatever_its_axes(axes: str):
    volume = scan(axes)
    masks = segmenter().segment(volume)
    assert {mask.shape for mask in masks.values()} == {volume.array.shape}
    np.testing.assert_array_equal(masks["lesion"], volume.array == LESION)
    np.testing.assert_array_equal(masks["lung"], np.isin(volume.array, (LEFT, RIGHT, LESION)))


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PSL", "IRP"])
def test_left_is_the_patients_left(axes: str):
    volume = scan(axes)
    masks = segmenter().segment(volume)
    right_of = {
        side: nib.affines.apply_affine(volume.affine_ras, np.argwhere(masks[f"{side}_lung"])).mean(0)[0]
        for side in ("left", "right")
    }
    assert right_of["left"] < right_of["right"]


def test_a_network_that_sees_coarser_voxels_still_answers_on_the_scans_grid():
    coarse = replace(segmenter(), canonical=CanonicalCT(spacing_mm=(4.0, 4.0, 6.0), window_hu=WINDOW))
    volume = scan("PSL")
    lung = coarse.segment(volume)["lung"]
    truth = np.isin(volume.array, (LEFT, RIGHT, LESION))
    assert lung.shape == truth.shape
    assert 2 * (lung & truth).sum() / (lung.sum() + truth.sum()) > 0.7


def test_only_what_was_learnt_is_predicted():
    masks = segmenter(regions=("lung", "lesion")).segment(scan())
    assert list(masks) == ["lung", "lesion"]


def test_a_lung_voxel_has_one_side_the_likelier_one():
    probability = {
        "lung": np.array([0.9, 0.9, 0.2, 0.9]),
        "left_lung": np.array([0.8, 0.3, 0.9, 0.1]),
        "right_lung": np.array([0.7, 0.4, 0.1, 0.9]),
    }
    mask = decide(probability)
    assert mask["left_lung"].tolist() == [True, False, False, False]
    assert mask["right_lung"].tolist() == [False, True, False, True]


def test_a_lesion_lies_in_the_lungs_and_consolidation_in_a_lesion():
    probability = {
        "lung": np.array([0.9, 0.1, 0.9]),
        "lesion": np.array([0.9, 0.9, 0.1]),
        "consolidation": np.array([0.9, 0.9, 0.9]),
    }
    mask = decide(probability)
    assert mask["lesion"].tolist() == [True, False, False]
    assert mask["consolidation"].tolist() == [True, False, False]


def test_without_lungs_the_lesion_stands_as_it_was_found():
    assert decide({"lesion": np.array([0.9, 0.2])})["lesion"].tolist() == [True, False]


def save_scan(path: Path, axes: str = "LPS", units: str = "hu") -> Series:
    volume = scan(axes)
    nib.save(nib.Nifti1Image(volume.array, volume.affine_ras), path)
    return make_nifti_series(path, site="", patient=path.name, units=units)  # type: ignore[arg-type]


def test_files_of_a_case_carry_the_grid_of_its_scan_and_zeros_and_ones(tmp_path: Path):
    series = save_scan(tmp_path / "a.nii.gz", "PSL")
    predict_series(segmenter(), {"a": series}, tmp_path / "out")
    for region in REGIONS:
        image = nib.load(tmp_path / "out" / "a" / f"{region}.nii.gz")
        np.testing.assert_allclose(image.affine, scan("PSL").affine_ras)
        assert image.shape == scan("PSL").array.shape
        assert image.get_data_dtype() == np.uint8
        assert set(np.unique(image.dataobj)) <= {0, 1}


def test_a_case_in_other_units_is_set_aside_with_the_reason_and_the_rest_go_on(tmp_path: Path):
    series = {
        "grey": save_scan(tmp_path / "grey.nii.gz", units="arbitrary"),
        "hu": save_scan(tmp_path / "hu.nii.gz"),
    }
    rows, quarantined = predict_series(segmenter(), series, tmp_path / "out")
    assert list(rows["case_id"]) == ["hu"]
    assert list(quarantined) == ["grey"]
    assert "arbitrary" in quarantined["grey"]


def test_a_file_that_is_cut_short_is_set_aside_and_the_rest_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    series = {name: save_scan(tmp_path / f"{name}.nii.gz") for name in ("broken", "whole")}
    (path,) = series["broken"].files
    path.write_bytes(path.read_bytes()[:200])
    with caplog.at_level(logging.WARNING):
        rows, quarantined = predict_series(segmenter(), series, tmp_path / "out")
    assert list(rows["case_id"]) == ["whole"]
    assert "broken.nii.gz" in quarantined["broken"]
    assert "broken set aside" in caplog.text


@dataclass
class Finishing:
    """Keeps what it is given, beside a file in the folder; fails for a case of the name ``refused``."""

    seen: dict[str, Result]
    fails: type[Exception] = UserError
    keeps_probability: bool = True

    def is_whole(self, series: Series, folder: Path) -> bool:
        return (folder / "page").exists()

    def __call__(self, series: Series, result: Result, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "page").touch()
        if result.case_id == "refused":
            raise self.fails("no lungs were found")
        self.seen[result.case_id] = result


def test_what_finishes_a_case_sees_the_probability_behind_its_masks(tmp_path: Path):
    finish = Finishing({})
    predict_series(segmenter(), {"kept": save_scan(tmp_path / "kept.nii.gz")}, tmp_path / "out", finish)
    probability_xyz, inside = finish.seen["kept"].probability_xyz, finish.seen["kept"].masks["lesion"]
    assert probability_xyz[inside].min() > 0.5 > probability_xyz[phantom_ras() == SOFT].max()


def test_a_run_that_learnt_only_lungs_predicts_them_and_says_why_there_is_no_severity(tmp_path: Path):
    lungs = segmenter(regions=("lung", "left_lung", "right_lung"))
    finish = Finishing({})
    rows, quarantined = predict_series(lungs, {"a": save_scan(tmp_path / "a.nii.gz")}, tmp_path / "out", finish)
    assert quarantined == {}
    assert rows["lung_ml"].notna().all()
    assert rows[["severity_score", "percent_involved"]].isna().all(axis=None)
    assert any("neither the lesion" in reason for reason in read_severity(tmp_path / "out" / "a").reasons)


@pytest.mark.parametrize("fails", [UserError, AttributeError])
def test_a_case_that_cannot_be_finished_leaves_nothing_and_the_rest_go_on(tmp_path: Path, fails: type[Exception]):
    series = {name: save_scan(tmp_path / f"{name}.nii.gz") for name in ("refused", "kept")}
    rows, quarantined = predict_series(segmenter(), series, tmp_path / "out", Finishing({}, fails))
    assert list(rows["case_id"]) == ["kept"]
    assert "no lungs were found" in quarantined["refused"]
    assert not (tmp_path / "out" / "refused").exists()


def test_only_what_a_failing_case_wrote_itself_is_taken_away_again(tmp_path: Path):
    folder = tmp_path / "out" / "refused"
    (folder / "mine").mkdir(parents=True)
    (folder / "mine" / "notes.txt").write_text("read by Dr Kim")
    predict_series(segmenter(), {"refused": save_scan(tmp_path / "refused.nii.gz")}, tmp_path / "out", Finishing({}))
    assert [path.name for path in folder.rglob("*")] == ["mine", "notes.txt"]


@pytest.mark.parametrize("case_id", ["", ".", "..", "../b", "a/b", "a\0b"])
def test_results_of_a_case_without_a_name_are_written_nowhere(tmp_path: Path, case_id: str):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").touch()
    scan_of = {case_id: save_scan(tmp_path / "a.nii.gz")}
    rows, quarantined = predict_series(segmenter(), scan_of, tmp_path / "out", Finishing({}))
    assert rows.empty
    assert "cannot be the name of a folder" in quarantined[case_id]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.nii.gz", "kept", "out"]


def test_a_case_predicted_before_without_a_page_gets_one_and_keeps_its_masks_if_that_fails(tmp_path: Path):
    series = {name: save_scan(tmp_path / f"{name}.nii.gz") for name in ("refused", "kept")}
    predict_series(segmenter(), series, tmp_path / "out")
    finish = Finishing({})
    predict_series(segmenter(), series, tmp_path / "out", finish)
    assert list(finish.seen) == ["kept"]
    assert (tmp_path / "out" / "refused" / "lesion.nii.gz").is_file()
    predict_series(segmenter(), {"kept": series["kept"]}, tmp_path / "out", again := Finishing({}))
    assert again.seen == {}


class Counting(ByValue):
    calls = 0

    def forward(self, image_bcxyz: Tensor) -> Tensor:
        Counting.calls += 1
        return super().forward(image_bcxyz)


def test_a_finished_case_is_not_predicted_again_but_stands_in_the_table(tmp_path: Path):
    series = {"a": save_scan(tmp_path / "a.nii.gz")}
    first, _ = predict_series(segmenter(Counting()), series, tmp_path / "out")
    before = Counting.calls
    again, _ = predict_series(segmenter(Counting()), series, tmp_path / "out")
    assert 0 < before == Counting.calls
    assert first.drop(columns="seconds").equals(again.drop(columns="seconds"))


def test_timing_stands_beside_the_severity_and_share_uncertain_is_of_the_lung(tmp_path: Path):
    torn = segmenter(ByValue(), ByValue(sure=-8.0))  # of every voxel one half says so, the other not
    predict_series(replace(torn, regions=("lesion",)), {"a": save_scan(tmp_path / "a.nii.gz")}, tmp_path / "out")
    kept = json.loads((tmp_path / "out" / "a" / "severity.json").read_text())
    assert next(iter(kept["timing_s"])) == "reading"
    assert kept["timing_s"] == read_seconds(tmp_path / "out" / "a")
    assert read_severity(tmp_path / "out" / "a").uncertain_percent is None  # without lungs, with the reason
    predict_series(segmenter(), {"b": save_scan(tmp_path / "b.nii.gz")}, tmp_path / "out")
    assert read_severity(tmp_path / "out" / "b").uncertain_percent == 0


def test_a_case_killed_before_its_severity_was_written_is_predicted_again(tmp_path: Path):
    series = {"a": save_scan(tmp_path / "a.nii.gz")}
    predict_series(segmenter(), series, tmp_path / "out")
    (tmp_path / "out" / "a" / "severity.json").unlink()
    (tmp_path / "out" / "a" / "lesion.nii.gz").write_bytes(b"half")
    predict_series(segmenter(), series, tmp_path / "out")
    assert (
        np.asarray(nib.load(tmp_path / "out" / "a" / "lesion.nii.gz").dataobj).sum() == (phantom_ras() == LESION).sum()
    )


def test_severity_counts_the_lesion_of_the_phantom(tmp_path: Path):
    volume = scan("SAR")
    masks = segmenter().segment(volume)
    severity = grade_severity(volume, masks)
    write_case(tmp_path, masks, volume, severity, {}, StageTimer())
    hu = phantom_ras()
    lesion, lung = (hu == LESION).sum(), np.isin(hu, (LEFT, RIGHT, LESION)).sum()
    assert severity.percent_involved == pytest.approx(100 * lesion / lung)
    assert severity.lesion_ml == pytest.approx(lesion * 12 / 1000)
    assert severity.lesion_g == pytest.approx(lesion * 12 / 1000 * (LESION + 1000) / 1000, rel=1e-6)
    zones = json.loads((tmp_path / "severity.json").read_text())["zone_percent"]
    assert zones["left_lower"] > 0
    assert zones["left_upper"] == 0
    assert {zones[f"right_{third}"] for third in ("upper", "middle", "lower")} == {0}


def fold(folder: str, **changes: object) -> Fold:
    canonical = {"_target_": "kicc_ml.data.canonical.CanonicalCT", "spacing_mm": [2.0, 2.0, 4.0]}
    about = About({}, ["seoul"], changes.pop("regions", ["lung", "lesion"]))  # type: ignore[arg-type]
    settings = {"data": {"canonical": canonical | changes, "patch_size": [16, 16, 8]}}
    return Fold(Path(folder), ByValue(), about, parse_settings(settings, Path(folder) / "config.yaml"))


def test_folds_of_a_run_become_one_ensemble():
    built = make_segmenter([fold("seoul"), fold("busan")])
    assert len(built.networks) == 2
    assert built.regions == ["lung", "lesion"]


def test_fast_looks_at_the_scan_once_and_by_default_at_its_mirror_image_too():
    assert [len(make_segmenter([fold("seoul")], fast=fast).tta_mirrors) for fast in (True, False)] == [1, 2]


def test_folds_that_see_a_ct_in_other_voxels_are_asked_apart_and_count_alike():
    class Sure(ByValue):
        def __init__(self, lesion: float) -> None:
            super().__init__()
            self.lesion = lesion

        def forward(self, image_bcxyz: Tensor) -> Tensor:
            logits = super().forward(image_bcxyz)
            logits[:, REGIONS.index("lesion")] = torch.logit(torch.tensor(self.lesion))
            return logits

    folds = [replace(fold("a"), network=Sure(0.9)), replace(fold("b"), network=Sure(0.9))]
    folds.append(replace(fold("c", spacing_mm=[2.5, 2.5, 4.0]), network=Sure(0.3)))
    kept = np.zeros(scan().array.shape, np.float32)
    make_segmenter(folds).segment_keeping(scan(), {"lesion": kept}, StageTimer())
    np.testing.assert_allclose(kept, 0.7, atol=5e-3)


def test_a_device_that_is_not_there_is_the_users_to_mend():
    with pytest.raises(UserError, match="cuda:99"):
        make_segmenter([replace(fold("a"), network=nn.Conv3d(1, 1, 1))], "cuda:99")


def test_an_outcome_run_cannot_segment():
    with pytest.raises(UserError, match="not trained to segment"):
        make_segmenter([fold("seoul", regions=[])])


class GreyIsProbability(torch.nn.Module):
    """Says of every region what the grey value is."""

    def forward(self, image_bcxyz: torch.Tensor) -> torch.Tensor:
        return torch.logit(image_bcxyz, eps=1e-4).repeat(1, len(REGIONS), 1, 1, 1)


SEEN = CanonicalCT()


@dataclass(frozen=True)
class Validation:
    """Batches to select on, as a data module gives them."""

    batches: list[dict[str, torch.Tensor]]
    patch_size: tuple[int, int, int] = (8, 8, 8)
    canonical: CanonicalCT | CanonicalCXR = SEEN

    def val_dataloader(self) -> list[dict[str, torch.Tensor]]:
        return self.batches


def faint_lesion() -> dict[str, torch.Tensor]:
    mask = torch.zeros(1, len(REGIONS), 8, 8, 8)
    mask[:, :, 2:6, 2:6, 2:6] = 1
    return {"image_bcxyz": 0.1 + 0.22 * mask[:, :1], "mask_bcxyz": mask}


def test_the_lesion_threshold_is_the_one_that_suits_the_validation_cases():
    about = About(sizes={}, sites=())
    fitted = choose_lesion_threshold(GreyIsProbability(), about, Validation([faint_lesion()]))  # type: ignore[arg-type]
    assert 0.1 < fitted.lesion_threshold < 0.32


def test_the_lesion_threshold_stays_where_no_validation_case_has_a_lesion():
    batch = faint_lesion() | {"mask_bcxyz": torch.zeros(1, len(REGIONS), 8, 8, 8)}
    about = About(sizes={}, sites=())
    assert choose_lesion_threshold(GreyIsProbability(), about, Validation([batch])) == about  # type: ignore[arg-type]


class DarkIsLung(nn.Module):
    """Dark is lung, its darker half on either side of the middle, and what is a little lighter is lesion."""

    def forward(self, image_bcxyz: Tensor) -> Tensor:
        lung, lesion = (image_bcxyz > 0.1) & (image_bcxyz < 0.7), (image_bcxyz > 0.4) & (image_bcxyz < 0.7)
        logits = torch.cat([lung, lung, lung, lesion, lesion & ~lesion], dim=1).float() * 16 - 8
        middle = image_bcxyz.shape[2] // 2
        logits[:, REGIONS.index("left_lung"), :middle] = -8
        logits[:, REGIONS.index("right_lung"), middle:] = -8
        return logits


def test_a_radiograph_gets_masks_on_its_own_pixels_a_picture_and_its_extent(tmp_path: Path):
    grey = np.full((50, 80), 250, np.uint8)  # rows, columns
    grey[0], grey[10:40, 10:30], grey[10:40, 50:70], grey[25:40, 10:30] = 0, 50, 50, 130
    Image.fromarray(grey).save(tmp_path / "x.png")
    series = {"x": make_radiograph_series(tmp_path / "x.png", site="", patient="x")}
    regions = ("lung", "left_lung", "right_lung", "lesion")
    one = Segmenter((DarkIsLung(),), CanonicalCXR(80), (80, 80, 1), regions, "arbitrary", False, 0.5)
    rows, quarantined = predict_series(one, series, tmp_path / "out")
    assert not quarantined
    found = {region: read_mask(tmp_path / "out" / "x" / f"{region}.nii.gz")[0] for region in regions}
    right = (grey == 50) & (np.arange(80) < 40) | (grey == 130)
    np.testing.assert_array_equal(found["right_lung"][..., 0], right.T)
    np.testing.assert_array_equal(found["lesion"][..., 0], (grey == 130).T)
    severity = json.loads((tmp_path / "out" / "x" / "severity.json").read_text())
    assert severity["lung_percent"] == {"right": 50.0, "left": 0.0}
    assert severity["geographic_extent"] == rows["geographic_extent"][0] == 3
    assert (tmp_path / "out" / "x" / "montage.png").is_file()


def test_clear_radiographs_raise_the_threshold_above_what_they_are_painted_with():
    about, known = About(sizes={}, sites=()), torch.ones(1, len(REGIONS), dtype=torch.bool)
    hazy = torch.zeros(1, len(REGIONS), 8, 8, 1)
    clear = {"image_bcxyz": hazy[:, :1] + 0.42, "mask_bcxyz": hazy, "mask_known_bc": known}
    ill_mask = hazy.clone()
    ill_mask[..., 2:6, 2:6, :] = 1
    ill = {"image_bcxyz": 0.22 + 0.36 * ill_mask[:, :1], "mask_bcxyz": ill_mask, "mask_known_bc": known}
    data = Validation([ill, clear, clear], (8, 8, 1), CanonicalCXR(8))
    fitted = choose_lesion_threshold(GreyIsProbability(), about, data)  # type: ignore[arg-type]
    assert 0.42 < fitted.lesion_threshold < 0.58


class TestUnstatedOrientation:
    """A NIfTI whose sform_code and qform_code are 0."""

    @pytest.fixture
    def result(self, tmp_path: Path) -> Result:
        """The phantom predicted from such a file; what lies in ``out/a`` is what it got."""
        image = nib.Nifti1Image(phantom_ras(), None)
        image.header.set_zooms((2.0, 2.0, 3.0))
        nib.save(image, tmp_path / "scan.nii.gz")
        series = make_nifti_series(tmp_path / "scan.nii.gz", site="s", patient="a", units="hu")
        seen: list[Result] = []

        class Seen:
            keeps_probability = False

            def is_whole(self, series: Series, folder: Path) -> bool:
                return False

            def __call__(self, series: Series, result: Result, folder: Path) -> None:
                seen.append(result)

        predict_series(segmenter(), {"a": series}, tmp_path / "out", Seen())
        return seen[0]

    def test_no_side_and_no_zone_is_given_and_severity_json_says_why(self, result: Result, tmp_path: Path):
        severity = json.loads((tmp_path / "out" / "a" / "severity.json").read_text())
        assert (severity["score"], severity["zone_percent"], severity["lung_percent"]) == (None, {}, {})
        assert "does not state how the scan lies" in severity["reasons"][0]
        assert not list((tmp_path / "out" / "a").glob("*_lung.nii.gz"))

    def test_what_needs_no_orientation_is_given(self, result: Result, tmp_path: Path):
        severity, hu = read_severity(tmp_path / "out" / "a"), phantom_ras()
        voxels = np.isin(hu, (LEFT, RIGHT, LESION)).sum()
        assert severity.lung_ml == pytest.approx(voxels * 12 / 1000)
        assert severity.percent_involved == pytest.approx(100 * (hu == LESION).sum() / voxels)

    def test_its_masks_state_no_orientation_either_and_its_voxel_sizes(self, result: Result, tmp_path: Path):
        header = nib.load(tmp_path / "out" / "a" / "lung.nii.gz").header
        assert (int(header["sform_code"]), int(header["qform_code"])) == (0, 0)
        assert header.get_zooms() == pytest.approx((2, 2, 3))

    def test_picture_and_page_mark_no_side_and_the_page_says_why(self, result: Result, tmp_path: Path):
        display = make_display(result.volume, result.masks, None)
        assert display.make_payload()["sides"] is False
        page = write_page(tmp_path / "page.html", PatientPage("a", Scan(display, result.severity)))
        assert "The file does not state how the scan lies" in page.read_text()
        stated = replace(result.volume, orientation_known=True)
        marked, bare = (
            np.asarray(draw_case_picture("a", volume, result.masks, None)) for volume in (stated, result.volume)
        )
        assert (marked != bare).any()


@pytest.mark.parametrize(
    "changes",
    [
        {"score": "<b>7</b>"},
        {"percent_involved": "nan"},
        {"zone_percent": [1, 2]},
        {"zone_score": {"right_upper": "x"}},
        {"reasons": "text"},
        {"reasons": [1]},
        {"command": "true"},
    ],
)
def test_a_severity_that_is_none_is_one_sentence(tmp_path: Path, changes: dict):
    whole = {
        name: None for name in SeverityMap.__dataclass_fields__ if name not in ("reasons", "lung_percent", "own_scores")
    }
    whole |= {"zone_percent": {"right_upper": 3.5}, "zone_score": {"right_upper": 1}, "reasons": ["cut"]}
    (tmp_path / "severity.json").write_text(json.dumps(whole))
    assert read_severity(tmp_path).zone_percent == {"right_upper": 3.5}
    (tmp_path / "severity.json").write_text(json.dumps(whole | changes))
    with pytest.raises(UserError, match=r"severity\.json.*predict it again"):
        read_severity(tmp_path)
