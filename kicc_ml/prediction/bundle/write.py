"""A run folder becomes a bundle of MONAI: its networks in one file, the workflow that predicts, and what that needs."""

from collections.abc import Sequence
from pathlib import Path

import torch

from kicc_ml.core.errors import UserError
from kicc_ml.core.files import whole_file, whole_folder, write_json, write_text
from kicc_ml.data.canonical import CanonicalCT
from kicc_ml.models.segmenter import Segmenter
from kicc_ml.prediction.bundle import steps
from kicc_ml.prediction.bundle.configs import MODEL, make_inference, make_metadata
from kicc_ml.prediction.bundle.modules import PACKAGE, copy_modules
from kicc_ml.prediction.segmenters import make_segmenter
from kicc_ml.runs.folder import Fold

README = """# {task}

{description}. Trained with kicc_ml; for research, no medical device.

```
pip install 'monai>=1.6.1,<1.7' {packages}
python -m monai.bundle run --config_file configs/inference.json --bundle_root . --dataset_dir SCANS --output_dir RESULTS
```

SCANS is a folder of NIfTI files (.nii, .nii.gz), one CT each. Of each, RESULTS has a folder of its name with the masks
{regions}: `<region>.nii.gz`, uint8, 0 or 1, on the scan's own grid.

`models/model.pt` has the tensors of all networks; it is read with `weights_only`. `scripts` is a copy of the modules
of kicc_ml that predict (Apache-2.0).
"""


def write_bundle(folds: Sequence[Fold], out: Path) -> None:
    """Write the bundle of a segmentation run; the folder is complete or absent.

    Args:
        folds: the folds of the run, whose probabilities are averaged.
        out: the folder of the bundle, which must not exist.

    Raises:
        UserError: the run does not segment CTs, has transforms of volumes of the user's own, or ``out`` is there.
    """
    segmenter = make_segmenter(folds)
    _refuse_what_no_bundle_does(segmenter)
    if out.exists():
        raise UserError(f"{out} is there already; name a folder that is not")
    with whole_folder(out) as partial:
        ensemble = steps.NetworkEnsemble([fold.network for fold in folds])
        with whole_file(partial / MODEL) as file:
            torch.save(ensemble.state_dict(), file)
        metadata = make_metadata(folds, segmenter)
        write_json(partial / "configs" / "inference.json", make_inference(folds, segmenter))
        write_json(partial / "configs" / "metadata.json", metadata)
        packages, regions = " ".join(metadata["required_packages_version"]), ", ".join(segmenter.regions)
        readme = README.format_map({**metadata, "packages": packages, "regions": regions})
        write_text(partial / "docs" / "README.md", readme)
        copy_modules([steps.__name__, *_modules_of_networks(folds)], partial)


def _refuse_what_no_bundle_does(segmenter: Segmenter) -> None:
    for one in (segmenter, *segmenter.companions):
        if one.canonical.modality != "CT":
            raise UserError("a bundle is of CT, and this run segments radiographs; hand over its run folder")
        if not isinstance(one.canonical, CanonicalCT):
            raise UserError("this run has transforms.volume of its own, which no bundle has; hand over its run folder")


def _modules_of_networks(folds: Sequence[Fold]) -> list[str]:
    """List the modules of this package whose networks the folds have."""
    settings = [fold.settings.require(fold.settings.network, "network") for fold in folds]
    targets = [str(one["_target_"]) for one in settings]
    return sorted({target.rpartition(".")[0] for target in targets if target.startswith(f"{PACKAGE}.")})
