"""A cohort with masks of lung and lesion, laid out as nnU-Net does: one label file, a value for each combination."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from kicc_ml.cohort.flow import Cohort
from kicc_ml.dicom.series.nifti_file import read_nifti

#: Lung alone is 1, lesion in the lung 2, lesion outside it 3.
LABELS = {"background": 0, "lung": [1, 2], "lesion": [2, 3]}


def lay_as_nnunet(cohort: Cohort, root: Path, channel: str = "grey") -> Path:
    """Write ``imagesTr`` (links to the images), ``labelsTr`` and ``dataset.json``; gives the folder."""
    for kind in ("imagesTr", "labelsTr"):
        (root / kind).mkdir(parents=True)
    for case in cohort:
        lung_xyz, affine = read_nifti(case.masks["lung"])
        lesion_xyz, _ = read_nifti(case.masks["lesion"])
        both_xyz = (lung_xyz > 0).astype(np.uint8)
        both_xyz[lesion_xyz > 0] = 2
        both_xyz[(lesion_xyz > 0) & (lung_xyz == 0)] = 3
        nib.save(nib.Nifti1Image(both_xyz, affine), root / "labelsTr" / f"{case.case_id}.nii.gz")
        (root / "imagesTr" / f"{case.case_id}_0000.nii.gz").symlink_to(case.ct.files[0])
    facts = {"channel_names": {"0": channel}, "labels": LABELS, "file_ending": ".nii.gz", "numTraining": len(cohort)}
    (root / "dataset.json").write_text(json.dumps(facts), encoding="utf-8")
    return root
