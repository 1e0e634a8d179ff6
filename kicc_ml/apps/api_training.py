"""The Python interface of training: the batches that ``kicc-ml train`` would give to a network."""

from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from kicc_ml.apps.configuration import compose_configuration, replace_values
from kicc_ml.apps.train import add_features, apply_plan, build_data_module
from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case, Split


def prepare_data(
    cases: Sequence[Case],
    split: Split,
    settings: Sequence[str] = ("experiment=lesion_ct",),
    store: str | Path = "store",
) -> pl.LightningDataModule:
    """Prepare the data of one fold, exactly as ``kicc-ml train`` does.

    Args:
        cases: of :func:`kicc_ml.read_cohort`.
        split: one of :func:`kicc_ml.split_by_site`.
        settings: as typed after ``kicc-ml train``, for example ``["experiment=outcome", "data.batch_size=4"]``.
        store: folder for the prepared volumes; a volume that is there already is not read again.

    Returns:
        a data module of Lightning. ``train_dataloader()`` gives batches as they leave the workers, small and packed;
        ``on_after_batch_transfer(batch, 0)`` augments and unpacks one, as the device of the training does.

    Raises:
        UserError: a setting is unknown, or no training case has an image with a label.
    """
    try:
        cfg = replace_values(compose_configuration("train", settings), {"store_dir": str(store)})
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"settings {list(settings)}: {error}") from error
    cases = add_features(cfg, cases, split)
    cfg, _ = apply_plan(cfg, [case for case in cases if case.case_id in split.train])
    data: pl.LightningDataModule = build_data_module(cfg, cases, split)
    data.prepare_data()
    data.setup("fit")
    return data
