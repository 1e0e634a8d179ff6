"""The store of prepared volumes: what it holds, when it is written again, who may write at once."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from kicc_ml.core.regions import REGIONS
from kicc_ml.core.types import Case, Series
from kicc_ml.data import store as store_module
from kicc_ml.data.canonical import CanonicalCXR
from kicc_ml.data.region_bits import unpack_array
from kicc_ml.data.store import StoreError, VolumeStore
from kicc_ml.data.stored_volume import StoredVolume
from kicc_ml.dicom.index.cluster import use_cluster
from kicc_ml.dicom.series.image_files import make_nifti_series
from kicc_ml.dicom.volume.read import RepositoryReader, make_radiograph_series
from tests.support.stored_cases import CANONICAL, folders, make_case, write


def nifti_of(case: Case, grey_window_hu: tuple[float, float] | None) -> Series:
    """The scan of a case, whose grey values 0 and 255 are these HU."""
    assert case.ct is not None
    path = case.ct.files[0]
    return make_nifti_series(path, site="a", patient=case.case_id, units="hu", grey_window_hu=grey_window_hu)


def test_a_prepared_volume_holds_what_the_canonical_transform_gives(tmp_path: Path) -> None:
    case = make_case(tmp_path, "1", ("left_lung", "right_lung", "ground_glass", "consolidation"))
    store = VolumeStore(tmp_path / "store")
    assert store.prepare([case], CANONICAL) == {}
    volume = store.load([case], CANONICAL)["1"]
    assert volume.shape == (12, 10, 8)
    assert volume.image_cxyz.dtype == np.float16
    hu = nib.load(tmp_path / "1.nii.gz").get_fdata()
    blocks = np.clip(hu, -1024, 600).reshape(12, 2, 10, 2, 8, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(volume.image_cxyz[0], (blocks + 1024) / 1624, atol=1e-3)
    known = dict(zip(REGIONS, volume.mask_known_c, strict=True))
    assert known == dict.fromkeys(REGIONS, True)
    lung, lesion = volume.mask_cxyz[REGIONS.index("lung")], volume.mask_cxyz[REGIONS.index("lesion")]
    assert lung[:4, 1:6, 2:4].all()
    assert lung.sum() == 4 * 5 * 2
    assert lesion[4:8, 1:6, 2:4].all()
    assert lesion.sum() == 4 * 5 * 2
    assert {tuple(index) for index in volume.lesion_index} == set(map(tuple, np.argwhere(lesion)))
    np.testing.assert_allclose(volume.affine_ras @ [0, 0, 0, 1], [-0.5, -0.5, 0.5, 1])


def test_a_damaged_scan_or_mask_that_is_called_like_a_full_disk_costs_itself(tmp_path: Path) -> None:
    sound, scan, mask = (make_case(tmp_path, name, ("lesion",)) for name in "123")
    damaged = tmp_path / "No space left on device.nii"
    damaged.write_bytes(b"iostream error" * 100)
    assert scan.ct is not None
    cases = [replace(scan, ct=replace(scan.ct, files=(damaged,))), replace(mask, masks={"lesion": damaged}), sound]
    quarantined = VolumeStore(tmp_path / "store").prepare(cases, CANONICAL)
    assert set(quarantined) == {"2", "3"}
    assert set(VolumeStore(tmp_path / "store").load([sound], CANONICAL)) == {"1"}


def test_half_of_a_whole_leaves_the_whole_unknown(tmp_path: Path) -> None:
    store, case = VolumeStore(tmp_path / "store"), make_case(tmp_path, "1", ("left_lung", "ground_glass"))
    store.prepare([case], CANONICAL)
    volume = store.load([case], CANONICAL)["1"]
    assert volume.mask_known_c.tolist() == [region == "left_lung" for region in REGIONS]
    assert volume.lesion_index.shape == (0, 3)


def test_the_same_content_is_not_prepared_again_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, case = VolumeStore(tmp_path / "store"), make_case(tmp_path / "here", "1", ("lesion",))
    store.prepare([case], CANONICAL)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    (tmp_path / "there" / "1.nii.gz").rename(tmp_path / "there" / "renamed.nii.gz")
    ct = make_nifti_series(tmp_path / "there" / "renamed.nii.gz", site="b", patient="x", units="hu")
    moved = replace(case, case_id="x", ct=ct, masks={"lesion": tmp_path / "there" / "1" / "lesion.nii.gz"})
    monkeypatch.setattr(RepositoryReader, "read", lambda *_: pytest.fail("was read again"))
    assert store.prepare([moved], CANONICAL) == {}
    assert store.load([moved], CANONICAL)["x"].folder == store.load([case], CANONICAL)["1"].folder


def test_anything_that_shapes_the_result_makes_another_volume(tmp_path: Path) -> None:
    store, case = VolumeStore(tmp_path / "store"), make_case(tmp_path, "1", ("lesion",))
    assert case.ct is not None
    grey = make_case(tmp_path, "2")
    write(tmp_path / "2.nii.gz", np.arange(240, dtype=np.int16).reshape(10, 6, 4))
    variants = [
        (case, CANONICAL),
        (case, replace(CANONICAL, spacing_mm=(2.0, 2.0, 4.0))),
        (case, replace(CANONICAL, window_hu=(-1000.0, 400.0))),
        (replace(case, ct=replace(case.ct, units="arbitrary")), CANONICAL),
        (replace(case, ct=replace(case.ct, spacing_mm=None)), CANONICAL),
        (replace(case, masks={}), CANONICAL),
        (replace(case, region_labels={"lesion": {1: "lesion", 2: "other"}}), CANONICAL),
        (replace(case, region_labels={"lesion": {1: "other", 2: "lesion"}}), CANONICAL),
        *((replace(grey, ct=nifti_of(grey, window_hu)), CANONICAL) for window_hu in (None, (-1250, 250), (-1000, 250))),
    ]
    for variant, canonical in variants:
        assert store.load([variant], canonical) == {}
        store.prepare([variant], canonical)
    assert len(folders(store.root)) == len(variants)


def test_a_changed_file_of_the_same_size_and_time_is_seen(tmp_path: Path) -> None:
    store, case = VolumeStore(tmp_path / "store"), make_case(tmp_path, "1")
    path = tmp_path / "1.nii.gz"
    store.prepare([case], CANONICAL)
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[4] ^= 1  # a time stamp in the gzip header: another content, the same picture
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.load([case], CANONICAL) == {}


def test_a_case_that_cannot_be_read_is_quarantined_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, damaged, vanished = (make_case(tmp_path, name) for name in "123")
    (tmp_path / "2.nii.gz").write_bytes((tmp_path / "2.nii.gz").read_bytes()[:300])
    (tmp_path / "3.nii.gz").unlink()
    beside = make_case(tmp_path, "4", ("lesion",))
    write(beside.masks["lesion"], np.zeros((3, 3, 3), np.uint8))
    store = VolumeStore(tmp_path / "store")
    quarantined = store.prepare([good, damaged, vanished, beside, Case("5", "a", "5")], CANONICAL)
    assert set(quarantined) == {"2", "3", "4"}
    assert "mask of (3, 3, 3) voxels" in quarantined["4"]
    assert "2 is left out" in caplog.text
    assert set(store.load([good, damaged, vanished, beside], CANONICAL)) == {"1"}


def test_cases_of_the_same_content_share_a_folder_and_a_fate(tmp_path: Path) -> None:
    good, bad = make_case(tmp_path, "1"), make_case(tmp_path, "2")
    (tmp_path / "2.nii.gz").write_bytes(b"damaged")
    twins = [good, bad, replace(good, case_id="1b"), replace(bad, case_id="2b")]
    store = VolumeStore(tmp_path / "store")
    assert set(store.prepare(twins, CANONICAL)) == {"2", "2b"}
    assert set(store.load(twins, CANONICAL)) == {"1", "1b"}
    assert len(folders(store.root)) == 1


@pytest.mark.parametrize("fails_at", ["image", "regions", "rename"])
def test_a_full_disk_stops_with_a_remedy_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: str
) -> None:
    store, case = VolumeStore(tmp_path / "store"), make_case(tmp_path, "1", ("lesion",))

    def full(original: Callable) -> Callable:
        def call(path: Path, *rest: object) -> object:
            if fails_at in ("rename", Path(path).stem):
                raise OSError(28, "No space left on device")
            return original(path, *rest)

        return call

    if fails_at == "rename":
        monkeypatch.setattr(Path, "rename", full(Path.rename))
    else:
        monkeypatch.setattr(np, "save", full(np.save))
    with pytest.raises(StoreError, match="No space left on device; make room"):
        store.prepare([case], CANONICAL)
    assert folders(store.root) == []
    assert store.load([case], CANONICAL) == {}
    monkeypatch.undo()
    assert store.prepare([case], CANONICAL) == {}
    assert set(store.load([case], CANONICAL)) == {"1"}


@pytest.mark.slow  # a process of its own imports for seconds
def test_a_run_killed_while_writing_leaves_nothing_taken_for_whole(tmp_path: Path) -> None:
    case = make_case(tmp_path, "1", ("lesion",))
    script = f"""
import os, signal
import numpy as np
from pathlib import Path
from kicc_ml.data.store import VolumeStore
from kicc_ml.data.canonical import CanonicalCT
from kicc_ml.dicom.series.image_files import make_nifti_series
from kicc_ml.core.types import Case
save = np.save
def die_at_regions(path, array):
    save(path, array)
    if path.stem == "regions":
        os.kill(os.getpid(), signal.SIGKILL)
np.save = die_at_regions
ct = make_nifti_series(Path({str(tmp_path / "1.nii.gz")!r}), site="a", patient="1", units="hu")
case = Case("1", "a", "1", ct=ct, masks={{"lesion": Path({str(case.masks["lesion"])!r})}})
VolumeStore(Path({str(tmp_path / "store")!r})).prepare([case], CanonicalCT(spacing_mm=(2.0, 2.0, 2.0)))
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL
    store = VolumeStore(tmp_path / "store")
    (left,) = folders(store.root)
    assert (left / "image.npy").exists()
    assert store.load([case], CANONICAL) == {}
    os.utime(left, (0, 0))
    store.prepare([case], CANONICAL)
    assert set(store.load([case], CANONICAL)) == {"1"}
    assert not left.exists()


@pytest.mark.slow
def test_many_volumes_are_prepared_by_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SERIAL_BELOW", 4)
    cases = [make_case(tmp_path, str(number)) for number in range(6)]
    (tmp_path / "3.nii.gz").write_bytes(b"not an image")
    store = VolumeStore(tmp_path / "store")
    assert set(store.prepare(cases, CANONICAL)) == {"3"}
    assert set(store.load(cases, CANONICAL)) == {case.case_id for case in cases} - {"3"}


@pytest.mark.slow
def test_a_dask_cluster_of_two_workers_prepares_the_same_volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    distributed = pytest.importorskip("distributed", reason="kicc_ml[dask] is not installed")
    monkeypatch.setattr(store_module, "SERIAL_BELOW", 4)
    cases = [make_case(tmp_path, str(number)) for number in range(6)]
    (tmp_path / "3.nii.gz").write_bytes(b"not an image")
    here, there = VolumeStore(tmp_path / "here"), VolumeStore(tmp_path / "there")
    assert set(here.prepare(cases, CANONICAL)) == {"3"}
    two_workers = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with two_workers as cluster, use_cluster(cluster.scheduler_address):
        assert set(there.prepare(cases, CANONICAL)) == {"3"}
        with distributed.Client(cluster) as client:
            prepared_by = client.run(lambda dask_worker: dask_worker.state.executed_count)
    assert sum(prepared_by.values()) >= len(cases)
    assert {folder.name for folder in folders(there.root)} == {folder.name for folder in folders(here.root)}
    for one in folders(here.root):
        for file in one.iterdir():
            assert file.read_bytes() == (there.root / one.name / file.name).read_bytes()


def test_radiographs_are_stored_as_one_slice(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (50, 40)).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "x.png")
    cxr = make_radiograph_series(tmp_path / "x.png", site="a", patient="x")
    case, store = Case("x", "a", "x", cxr=cxr), VolumeStore(tmp_path / "store")
    store.prepare([case], CanonicalCXR(size=32))
    volume = store.load([case], CanonicalCXR(size=32))["x"]
    assert volume.image_cxyz.shape == (1, 32, 32, 1)
    assert not volume.mask_known_c.any()


def big_volume(folder: Path, shape: tuple[int, ...]) -> StoredVolume:
    """Sparse files: nothing of the volume is on disk until it is written."""
    folder.mkdir()
    image = np.lib.format.open_memmap(folder / "image.npy", "w+", np.float16, (1, *shape))
    bits = np.lib.format.open_memmap(folder / "regions.npy", "w+", np.uint8, shape)
    image[0, 500:502, 300, 100] = 0.5
    bits[501, 300, 100] = 1 << REGIONS.index("lesion")
    del image, bits
    meta = {"affine_ras": np.eye(4).tolist(), "shape": shape, "spacing_known": True, "regions": ["lesion"]}
    (folder / "meta.json").write_text(json.dumps(meta))
    return StoredVolume(folder)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_a_patch_of_a_large_volume_touches_little_memory(tmp_path: Path) -> None:
    def resident_mib() -> float:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE") / 2**20

    volume = big_volume(tmp_path / "big", (1024, 1024, 256))  # 0.5 GiB of image, 0.25 GiB of masks
    before = resident_mib()
    patch = volume.patch((490, 290, 90), (16, 16, 16))
    assert patch.image_cxyz[0, 10, 10, 10] == 0.5
    assert patch.bits_xyz[11, 10, 10] == 1 << REGIONS.index("lesion")
    assert resident_mib() - before < 64


def test_a_patch_beyond_the_volume_is_zero_there(tmp_path: Path) -> None:
    store, case = VolumeStore(tmp_path / "store"), make_case(tmp_path, "1", ("lesion",))
    store.prepare([case], CANONICAL)
    volume = store.load([case], CANONICAL)["1"]
    patch = volume.patch((-2, -3, 1), (16, 16, 4))
    assert patch.image_cxyz.shape == (1, 16, 16, 4)
    assert patch.image_cxyz.dtype == np.float16
    np.testing.assert_array_equal(patch.image_cxyz[:, 2:14, 3:13], volume.image_cxyz[..., 1:5])
    np.testing.assert_array_equal(unpack_array(patch.bits_xyz)[:, 2:14, 3:13], volume.mask_cxyz[..., 1:5])
    assert not patch.image_cxyz[:, :2].any()
    assert not patch.image_cxyz[:, 14:].any()
    assert not volume.patch((50, 0, 0), (4, 4, 4)).image_cxyz.any()
