"""Batches of patients: what is known of each is said, and what is absent stays empty."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case
from kicc_ml.data.augment.transform import AugmentConfig
from kicc_ml.data.canonical import CanonicalCT, CanonicalCXR
from kicc_ml.data.datamodule import PatientDataModule
from kicc_ml.data.store import VolumeStore
from kicc_ml.dicom.series.image_files import make_radiograph_series
from tests.support.fitted_batches import fit
from tests.support.patch_batches import CANONICAL, segmentation_case, split_of, started

FIXED = CanonicalCT(matrix=(12, 12, 8))


def outcome_cases(folder: Path) -> list[Case]:
    """Four patients: CT and radiograph, CT alone, radiograph alone, neither."""
    cases = []
    for number, (has_ct, has_cxr) in enumerate([(True, True), (True, False), (False, True), (False, False)]):
        ct = segmentation_case(folder, number).ct if has_ct else None
        picture = folder / f"{number}.png"
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (30, 20)).astype(np.uint8)).save(picture)
        cxr = make_radiograph_series(picture, site="s", patient=str(number)) if has_cxr else None
        cases.append(
            Case(
                f"c{number}",
                "s",
                f"c{number}",
                ct=ct,
                cxr=cxr,
                clinical={"age_years": 50.0 + number, "crp_mg_l": float("nan")},
                endpoints={"oxygen": 1.0, "icu": float("nan"), "death": 0.0},
            )
        )
    return cases


def patients(folder: Path, **settings: Any) -> PatientDataModule:
    cases = outcome_cases(folder)
    store = VolumeStore(folder / "store")
    return started(PatientDataModule(cases, split_of(cases, 4, 0), store, **settings))


def in_order(batch: dict, key: str) -> torch.Tensor:
    return batch[key][np.argsort(batch["case_id"])]


def test_outcome_batches_say_what_is_known(tmp_path: Path) -> None:
    module = patients(tmp_path, canonical_ct=FIXED, canonical_cxr=CanonicalCXR(size=16))
    (batch,) = module.train_dataloader()
    assert sorted(batch["case_id"]) == ["c0", "c1", "c2", "c3"]
    assert in_order(batch, "ct_bcxyz").shape == (4, 1, 12, 12, 8)
    assert in_order(batch, "ct_known_b").tolist() == [True, True, False, False]
    assert in_order(batch, "cxr_bcxy").shape == (4, 1, 16, 16)
    assert in_order(batch, "cxr_known_b").tolist() == [True, False, True, False]
    assert in_order(batch, "ct_bcxyz").flatten(1).any(1).tolist() == [True, True, False, False]
    assert module.features == ("age_years", "crp_mg_l")
    assert in_order(batch, "clinical_bf")[:, 0].tolist() == [50, 51, 52, 53]
    assert batch["clinical_bf"][:, 1].isnan().all()
    assert module.endpoints == ("oxygen", "icu", "death")  # all that the cohort has
    assert batch["endpoints_be"].tolist() == [[1, 0, 0]] * 4
    assert batch["endpoints_known_be"].tolist() == [[True, False, True]] * 4


def test_a_modality_that_is_not_asked_for_has_no_keys(tmp_path: Path) -> None:
    (clinical,) = patients(tmp_path).train_dataloader()
    assert not {"ct_bcxyz", "ct_known_b", "cxr_bcxy", "cxr_known_b"} & set(clinical)
    (images,) = patients(tmp_path, canonical_cxr=CanonicalCXR(16), features=()).train_dataloader()
    assert images["clinical_bf"].shape == (len(images["case_id"]), 0)
    assert "cxr_bcxy" in images
    (chosen,) = patients(tmp_path, features=("crp_mg_l", "age_years")).train_dataloader()
    assert in_order(chosen, "clinical_bf")[:, 1].tolist() == [50, 51, 52, 53]


def test_a_quarantined_image_leaves_the_patient_without_it(tmp_path: Path) -> None:
    cases = outcome_cases(tmp_path)
    (tmp_path / "ct1.nii.gz").write_bytes(b"damaged")
    module = PatientDataModule(cases, split_of(cases, 4, 0), VolumeStore(tmp_path / "store"), FIXED)
    (batch,) = started(module).train_dataloader()
    assert set(module.quarantined) == {"c1"}
    assert in_order(batch, "ct_known_b").tolist() == [True, False, False, False]


def test_cts_of_unequal_shape_are_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="matrix three numbers"):
        patients(tmp_path, canonical_ct=CANONICAL)


def test_augmentation_leaves_absent_images_empty(tmp_path: Path) -> None:
    loud = AugmentConfig(noise=1, brightness=1, brightness_shift=(0.1, 0.2))
    module = patients(tmp_path, canonical_ct=FIXED, canonical_cxr=CanonicalCXR(16), augment_ct=loud, augment_cxr=loud)
    for batch in fit(module, tmp_path).train_batches:
        assert torch.equal(batch["ct_bcxyz"].flatten(1).any(1), batch["ct_known_b"])
        assert torch.equal(batch["cxr_bcxy"].flatten(1).any(1), batch["cxr_known_b"])
