"""Patients of noise in which an endpoint, or a hospital, is planted where a test wants it."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from kicc_ml.core.types import Case, Series, Split
from kicc_ml.data.canonical import CanonicalCT, CanonicalCXR
from kicc_ml.data.datamodule import PatientDataModule
from kicc_ml.data.store import VolumeStore
from kicc_ml.dicom.series.image_files import make_nifti_series, make_radiograph_series
from kicc_ml.models.baselines.tabular import clinical_bf, endpoints_be
from kicc_ml.models.outcome import OutcomeNetwork, OutcomeTask
from kicc_ml.prediction.outcome import recalibrate

CT_SHAPE, CXR_SHAPE = (32, 32, 16), (32, 32)
BLOB, BRIGHT = 6, 2.5  # its side in voxels, its height in standard deviations of the noise


def clinical_case(site: str, number: int, death: float, **clinical: float) -> Case:
    """A patient of a table, without images."""
    return Case(f"{site}{number}", site, f"{site}{number}", clinical=clinical, endpoints={"death": death})


def noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Smooth noise of unit spread, so that a blob is not told by a single voxel."""
    smooth = gaussian_filter(rng.standard_normal(shape), 1.0)
    return smooth / smooth.std()


def with_blob(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """A bright cube (square) somewhere within."""
    start = [rng.integers(1, size - BLOB) for size in image.shape]
    image[tuple(slice(at, at + BLOB) for at in start)] += BRIGHT
    return image


def ct_series(path: Path, image: np.ndarray) -> Series:
    hu = np.clip(-500 + 150 * image, -1000, 400).astype(np.int16)
    nib.save(nib.Nifti1Image(hu, np.diag([-2.0, -2.0, 4.0, 1.0])), path.with_suffix(".nii.gz"))
    return make_nifti_series(path.with_suffix(".nii.gz"), site="", patient=path.name, units="hu")


def cxr_series(path: Path, image: np.ndarray) -> Series:
    Image.fromarray(np.clip(120 + 25 * image, 0, 255).astype(np.uint8).T).save(path.with_suffix(".png"))
    return make_radiograph_series(path.with_suffix(".png"), site="", patient=path.name)


def split_of(cases: list[Case], train: int, val: int, fold: str = "f") -> Split:
    ids = tuple(case.case_id for case in cases)
    return Split(fold, ids[:train], ids[train : train + val], ids[train + val :], {one: one for one in ids})


def data_of(cases: list[Case], split: Split, folder: Path) -> PatientDataModule:
    """Batches of what the cases have: radiographs alone where none has a CT."""
    with_ct = any(case.ct for case in cases)
    data = PatientDataModule(
        cases,
        split,
        VolumeStore(folder / "store"),
        CanonicalCT(matrix=CT_SHAPE) if with_ct else None,
        CanonicalCXR(size=CXR_SHAPE[0]),
        endpoints=("icu",),
    )
    data.prepare_data()
    data.setup()
    return data


def trained(data: PatientDataModule, steps: int) -> OutcomeNetwork:
    """A small network, trained and recalibrated as ``train.py`` does."""
    pl.seed_everything(0, verbose=False)
    features = data.features or ()
    network = OutcomeNetwork(len(features), 1, ct=data.ct is not None, channels=(8, 16), width=16)
    prevalence_e = torch.from_numpy(endpoints_be(data.train_cases, ["icu"])).nanmean(0).float()
    network.fit_inputs(torch.from_numpy(clinical_bf(data.train_cases, features)).float(), prevalence_e)
    trainer = pl.Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, limit_val_batches=0, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(OutcomeTask(network, learning_rate=3e-3, weight_decay=1e-2), data)
    recalibrate(network, data)
    return network
