"""On a GPU: the numbers are right in bf16 and beside a CPU, nothing waits, and the table of ``gpu_check``."""

import os

import pytest
import torch
from torch import Tensor, nn

from kicc_ml.apps.gpu_check import SIZES, SLICES, WHOLE, check, make_dynunet
from kicc_ml.core.regions import REGIONS
from kicc_ml.data.augment.transform import AugmentConfig, augment_batch
from kicc_ml.models.gpu import arrange_for_gpu
from kicc_ml.models.networks import build_network
from kicc_ml.models.precision import fast_bf16
from kicc_ml.models.segmentation import one_tensor, training_loss
from kicc_ml.models.sliding_window import predict_by_sliding_window
from kicc_ml.training.compilation import try_step

#: cuBLAS reads it once, before its first use, and gives the same sums each time.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")

#: bf16 has eight bits: three decimal digits, of which a deep network loses one.
RELATIVE = 0.05


def step(network: nn.Module, image_bcxyz: Tensor, bf16: bool) -> tuple[Tensor, Tensor]:
    """The logits, and the gradient of all weights, of one step."""
    network.zero_grad()
    with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
        logits = one_tensor(network(image_bcxyz)).float()
    shape = image_bcxyz.shape
    mask_bcxyz = (image_bcxyz > 0.5).float().expand(shape[0], len(REGIONS), *shape[2:])
    training_loss(logits, mask_bcxyz, torch.ones(shape[0], len(REGIONS), dtype=torch.bool, device="cuda")).backward()
    return logits.detach(), torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


@pytest.mark.parametrize("channels_last", [False, True])
def test_bf16_and_float32_agree_forward_and_backward_at_our_patch_size(channels_last: bool):
    """cuDNN 9.10.2 gave wrong 3-D convolutions in bf16 at large shapes without an error (pytorch issue 163539)."""
    if not fast_bf16("cuda"):
        pytest.skip("this GPU has no bf16")
    torch.manual_seed(0)
    network = make_dynunet(WHOLE).cuda()
    if channels_last:
        arrange_for_gpu(network, torch.device("cuda"))
    image = torch.rand(WHOLE.batch, 1, *WHOLE.patch, device="cuda")
    torch.backends.cudnn.allow_tf32 = False
    try:
        exact, in_bf16 = step(network, image, False), step(network, image, True)
    finally:
        torch.backends.cudnn.allow_tf32 = True
    for one, other in zip(exact, in_bf16, strict=True):
        assert (one - other).norm() / one.norm() < RELATIVE


def test_a_gpu_and_a_cpu_predict_the_same():
    torch.manual_seed(0)
    network = build_network(SLICES, SIZES).eval()
    image = torch.rand(1, 192, 160, 24)
    on_cpu = predict_by_sliding_window([network], image, (96, 96, 3), range(len(REGIONS)))
    on_gpu = predict_by_sliding_window([network.cuda()], image, (96, 96, 3), range(len(REGIONS)))
    assert on_gpu.is_cuda
    assert (on_cpu.float() - on_gpu.cpu().float()).abs().max() < RELATIVE


def test_two_deterministic_steps_give_the_same_gradient():
    image = torch.rand(WHOLE.batch, 1, *WHOLE.patch, device="cuda")
    gradients = []
    torch.use_deterministic_algorithms(True)
    try:
        for _ in range(2):
            torch.manual_seed(0)
            gradients.append(step(make_dynunet(WHOLE).cuda(), image, fast_bf16("cuda"))[1])
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(*gradients)


def test_a_compiled_step_agrees_with_one_that_is_not():
    torch.manual_seed(0)
    network = make_dynunet(WHOLE).cuda()
    image = torch.rand(WHOLE.batch, 1, *WHOLE.patch, device="cuda")
    plain = step(network, image, False)
    compiled = torch.compile(lambda image_bcxyz: network(image_bcxyz), dynamic=False)
    logits = one_tensor(compiled(image)).float()
    assert (logits - plain[0]).norm() / plain[0].norm() < RELATIVE
    try_step(network, compiled, image)  # backward too


def test_augmentation_does_not_wait_for_the_gpu():
    batch = {
        "image_bcxyz": torch.rand(8, 1, 32, 32, 16, device="cuda"),
        "region_bits_bxyz": torch.zeros(8, 32, 32, 16, dtype=torch.uint8, device="cuda"),
        "mask_known_bc": torch.ones(8, len(REGIONS), dtype=torch.bool, device="cuda"),
        "sample_seed": [1],
    }
    everything = AugmentConfig(noise=0.5, blur=0.5, low_resolution=0.5, brightness=0.5, contrast=0.5, gamma=0.5)
    torch.cuda.set_sync_debug_mode("error")
    try:
        augment_batch(batch, ("image_bcxyz", "region_bits_bxyz"), everything)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_table_is_printed():
    check(tiny=False)
