"""The segmentation loss and its metric: what is not labelled does not count, whatever stands there."""

import pytest
import torch
from monai.losses import DiceLoss
from torch import Tensor, nn

from kicc_ml.core.regions import REGIONS
from kicc_ml.models.segmentation import DICE_SMOOTHING, SegmentationTask, masked_dice_cross_entropy, training_loss

CHANNELS = len(REGIONS)
LESION = REGIONS.index("lesion")


def batch(cases: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits that carry gradient, and a mask, of ``cases`` small patches."""
    generator = torch.Generator().manual_seed(seed)
    shape = (cases, CHANNELS, 6, 5, 4)
    logits = torch.randn(shape, generator=generator, requires_grad=True)
    return logits, (torch.rand(shape, generator=generator) > 0.7).float()


def test_an_unlabelled_region_carries_no_gradient_and_the_labelled_ones_do():
    logits, mask = batch()
    known = torch.zeros(2, CHANNELS, dtype=torch.bool)
    known[0, LESION] = known[1, 0] = True
    masked_dice_cross_entropy(logits, mask, known).backward()
    assert logits.grad is not None
    moved = logits.grad.abs().sum((2, 3, 4)) > 0
    assert moved.equal(known)


def test_what_stands_in_an_unlabelled_mask_changes_nothing():
    logits, mask = batch()
    known = torch.ones(2, CHANNELS, dtype=torch.bool)
    known[1, LESION] = False
    other = mask.clone()
    other[1, LESION] = 1 - other[1, LESION]
    assert masked_dice_cross_entropy(logits, mask, known) == masked_dice_cross_entropy(logits, other, known)


def test_a_case_without_the_label_does_not_dilute_the_others():
    logits, mask = batch(cases=1)
    doubled = [torch.cat([one, torch.randn_like(one)]) for one in (logits, mask)]
    known = torch.tensor([[True] * CHANNELS, [False] * CHANNELS])
    alone = masked_dice_cross_entropy(logits, mask, known[:1])
    torch.testing.assert_close(masked_dice_cross_entropy(*doubled, known), alone)


def test_with_everything_labelled_it_is_monais_batch_dice_and_cross_entropy():
    logits, mask = batch()
    dice = DiceLoss(sigmoid=True, batch=True, smooth_nr=DICE_SMOOTHING, smooth_dr=DICE_SMOOTHING)(logits, mask)
    expected = dice + nn.BCEWithLogitsLoss()(logits, mask)
    known = torch.ones(2, CHANNELS, dtype=torch.bool)
    torch.testing.assert_close(masked_dice_cross_entropy(logits, mask, known), expected)


def test_where_nothing_is_labelled_the_loss_is_zero_and_can_be_differentiated():
    logits, mask = batch()
    loss = masked_dice_cross_entropy(logits, mask, torch.zeros(2, CHANNELS, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_an_empty_reference_found_empty_costs_next_to_nothing():
    shape = (1, CHANNELS, 6, 5, 4)
    known = torch.ones(1, CHANNELS, dtype=torch.bool)
    loss = masked_dice_cross_entropy(torch.full(shape, -20.0), torch.zeros(shape), known)
    assert loss.item() == pytest.approx(0, abs=1e-4)


class Threshold(nn.Module):
    """Calls what is bright a lesion and everything else nothing; looks at each voxel alone."""

    def __init__(self) -> None:
        super().__init__()
        self.steepness = nn.Parameter(torch.tensor(20.0))

    def forward(self, image_bcxyz: Tensor) -> Tensor:
        lesion = self.steepness * (image_bcxyz - 0.5)
        never = torch.full_like(lesion, -10.0)
        return torch.cat([lesion if channel == LESION else never for channel in range(CHANNELS)], dim=1)


def task() -> SegmentationTask:
    return SegmentationTask(Threshold(), (8, 8, 8), learning_rate=1e-3, weight_decay=0.0)


def logged(task: SegmentationTask, batches: list[dict], monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    values: dict[str, float] = {}
    monkeypatch.setattr(task, "log", lambda name, value, **_: values.update({name: float(value)}))
    for number, one in enumerate(batches):
        task.validation_step(one, number)
    task.on_validation_epoch_end()
    return values


def validation_case(bright: int, lesion: int, known: bool = True) -> dict:
    """A scan whose first ``bright`` columns are bright, of which the reference calls the first ``lesion`` a lesion."""
    image = torch.zeros(1, 1, 8, 8, 8)
    image[:, :, :bright] = 1
    mask = torch.zeros(1, CHANNELS, 8, 8, 8)
    mask[:, LESION, :lesion] = 1
    known_bc = torch.zeros(1, CHANNELS, dtype=torch.bool)
    known_bc[:, LESION] = known
    return {"image_bcxyz": image, "mask_bcxyz": mask, "mask_known_bc": known_bc, "case_id": ["a"]}


def test_validation_dice_is_the_mean_over_cases_not_over_voxels(monkeypatch: pytest.MonkeyPatch):
    cases = [validation_case(bright=6, lesion=6), validation_case(bright=3, lesion=1)]
    values = logged(task(), cases, monkeypatch)
    assert values["val/dice_lesion"] == pytest.approx((1 + 2 / 4) / 2)
    assert values["val/dice"] == values["val/dice_lesion"]


def test_validation_leaves_out_the_unlabelled_and_what_is_rightly_empty(monkeypatch: pytest.MonkeyPatch):
    cases = [validation_case(3, 1), validation_case(0, 0), validation_case(8, 0, known=False)]
    assert logged(task(), cases, monkeypatch)["val/dice_lesion"] == pytest.approx(0.5)


def test_a_lesion_where_there_is_none_counts_as_zero(monkeypatch: pytest.MonkeyPatch):
    cases = [validation_case(4, 4), validation_case(4, 0)]
    assert logged(task(), cases, monkeypatch)["val/dice_lesion"] == pytest.approx(0.5)


def test_validation_with_no_label_at_all_still_gives_a_number_to_select_on(monkeypatch: pytest.MonkeyPatch):
    assert logged(task(), [validation_case(4, 4, known=False)], monkeypatch) == {"val/dice": 0.0}


def test_one_epochs_cases_do_not_linger_in_the_next(monkeypatch: pytest.MonkeyPatch):
    one = task()
    logged(one, [validation_case(4, 0)], monkeypatch)
    assert logged(one, [validation_case(4, 4)], monkeypatch)["val/dice"] == 1


def test_a_loss_that_is_no_number_names_the_case():
    image = validation_case(4, 4) | {"case_id": ["seoul_ab12"]}
    image["image_bcxyz"] = torch.full_like(image["image_bcxyz"], torch.nan)
    with pytest.raises(FloatingPointError, match="seoul_ab12"):
        task().training_step(image, 0)


def test_a_loss_that_is_no_number_names_only_the_case_that_causes_it():
    pair = {key: torch.cat([value] * 2) for key, value in validation_case(4, 4).items() if key != "case_id"}
    pair["image_bcxyz"][1, 0, 0, 0, 0] = torch.nan
    with pytest.raises(FloatingPointError) as caught:
        task().training_step(pair | {"case_id": ["sound", "broken"]}, 0)
    assert "broken" in str(caught.value)
    assert "sound" not in str(caught.value)


def test_deep_supervision_of_equal_heads_is_the_loss_of_one():
    logits, mask = batch()
    known = torch.ones(2, CHANNELS, dtype=torch.bool)
    one = masked_dice_cross_entropy(logits, mask, known)
    torch.testing.assert_close(training_loss(torch.stack([logits] * 3, dim=1), mask, known), one)


def test_a_deeper_head_counts_half_as_much_as_the_one_above():
    (good, mask), (bad, _) = batch(seed=0), batch(seed=1)
    known = torch.ones(2, CHANNELS, dtype=torch.bool)
    above, below = (masked_dice_cross_entropy(one, mask, known) for one in (good, bad))
    torch.testing.assert_close(training_loss(torch.stack([good, bad], dim=1), mask, known), (2 * above + below) / 3)


def test_where_only_the_middle_slices_are_answered_only_they_are_judged():
    logits, mask = batch()
    known = torch.ones(2, CHANNELS, dtype=torch.bool)
    middle = masked_dice_cross_entropy(logits[..., 1:-1], mask[..., 1:-1], known)
    torch.testing.assert_close(training_loss(logits[..., 1:-1], mask, known), middle)
