"""Write a synthetic KICC-19: one folder of DICOM files per hospital, the clinical table, the true masks."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path

import nibabel
import numpy as np
from joblib import Parallel, delayed

from kicc_ml.core.errors import UserError, find_target_error
from kicc_ml.core.files import make_folder, whole_folder, write_json, write_text
from kicc_ml.core.locks import hold
from kicc_ml.core.progress import track
from kicc_ml.core.pseudonym import KEY_NAME
from kicc_ml.synthetic.anatomy import draw_physique
from kicc_ml.synthetic.clinical import SyntheticCohort, draw_cohort
from kicc_ml.synthetic.hospital import Hospital, make_hospitals, scan_ct
from kicc_ml.synthetic.lesions import add_pneumonia
from kicc_ml.synthetic.presets import PRESETS, Preset, scale_preset
from kicc_ml.synthetic.radiograph import (
    compute_plate,
    draw_pose,
    make_radiograph_grid,
    project,
    project_masks,
    simulate_exposure,
)
from kicc_ml.synthetic.thorax import Thorax, make_healthy_thorax
from kicc_ml.synthetic.writer import (
    ImageOrder,
    make_ct_affine_ras,
    make_radiograph_affine_ras,
    write_ct,
    write_radiograph,
)

#: Default voxels (across, slices) of a CT by preset: the demo must be ready in seconds.
SIZES = {"demo": (80, 40)}
DEFAULT_SIZE = (128, 64)
MIN_MATRIX, MIN_SLICES = 32, 12  # JPEG 2000 takes no less than 32 pixels; a lung should have some too
REQUEST, COMPLETE, LOCK = "request.json", "complete.json", ".lock"
MASKS = ("left_lung", "right_lung", "ground_glass", "consolidation")


@dataclass(frozen=True)
class PatientImages:
    """All images of one patient at one hospital, with the burden and consolidated share of each."""

    hospital: Hospital
    orders: tuple[ImageOrder, ...]
    burdens: tuple[float, ...]
    consolidated_shares: tuple[float, ...]


def synthesize(
    out: Path,
    preset: str | Preset,
    seed: int,
    *,
    tables_only: bool = False,
    matrix: int | None = None,
    slices: int | None = None,
    patients: int | None = None,
    sites: int | None = None,
) -> None:
    """Write a repository to ``out``; a finished one is left alone, an interrupted one is carried on.

    ``matrix`` and ``slices`` are the voxels of a CT across and along the body. Everything follows from the
    arguments and ``seed``, byte for byte. Raises UserError where ``out`` holds anything else, TargetError where it
    cannot be written.
    """
    chosen = scale_preset(_find_preset(preset), patients, sites)
    usual_matrix, usual_slices = SIZES.get(chosen.name, DEFAULT_SIZE)
    size = (matrix or usual_matrix, slices or usual_slices)
    if size[0] < MIN_MATRIX or size[1] < MIN_SLICES:
        raise UserError(f"--matrix must be at least {MIN_MATRIX} and --slices at least {MIN_SLICES}")
    request = {"preset": repr(chosen), "seed": seed, "matrix": size[0], "slices": size[1]}
    if _is_finished(out, request):
        return
    try:
        with hold(make_folder(out / "truth") / LOCK, f"the repository {out}"):
            if _is_finished(out, request):  # by the process that held the lock
                return
            write_json(out / "truth" / REQUEST, request)
            cohort = draw_cohort(chosen, seed)
            _write_tables(out, cohort, seed)
            if not tables_only:
                _write_images(out, cohort, seed, size)
                write_json(out / "truth" / COMPLETE, request)
    except OSError as error:
        raise (find_target_error(error, out) or error) from error


def _find_preset(preset: str | Preset) -> Preset:
    if isinstance(preset, Preset):
        return preset
    if preset not in PRESETS:
        raise UserError(f"there is no preset {preset!r}; there are {', '.join(PRESETS)}")
    return PRESETS[preset]


def _is_finished(out: Path, request: dict) -> bool:
    """Whether ``out`` holds this repository whole. Raises UserError where it holds anything else."""
    asked = out / "truth" / REQUEST
    if asked.is_file():
        if _read_request(asked) != request:
            raise UserError(
                f"{out} holds a synthetic repository made with other arguments (see truth/{REQUEST}); "
                "choose another folder or remove it"
            )
        return (out / "truth" / COMPLETE).is_file()
    if out.exists() and not (out.is_dir() and _is_empty(out)):
        raise UserError(f"{out} is not empty and holds no synthetic repository; choose another folder")
    return False


def _is_empty(out: Path) -> bool:
    """Whether the folder holds only what a process leaves that was killed before it wrote its request."""
    hidden = (path.name.startswith(".") for path in out.glob("truth/*"))
    return all(path.name == "truth" for path in out.iterdir()) and all(hidden)


def _read_request(path: Path) -> object:
    """Read the request of a repository; None if the file is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None


def _write_tables(out: Path, cohort: SyntheticCohort, seed: int) -> None:
    write_text(out / "clinical.csv", cohort.table.to_csv(index=False))
    write_text(out / "truth" / "patients.csv", cohort.truth.to_csv(index=False))
    write_text(out / "truth" / "images.csv", cohort.images.to_csv(index=False))
    key = hashlib.sha256(f"synthetic KICC-19, seed {seed}".encode()).hexdigest()
    write_text(out / KEY_NAME, key, private=True)


def _write_images(out: Path, cohort: SyntheticCohort, seed: int, size: tuple[int, int]) -> None:
    """Write the images in parallel, one job per patient, because the images of a patient share an anatomy."""
    jobs = _group_by_patient(cohort, seed)
    tasks = (delayed(write_patient)(out, job, size) for job in jobs)
    workers = Parallel(n_jobs=min(os.cpu_count() or 1, len(jobs)), return_as="generator_unordered")
    for _ in track(workers(tasks), "writing patients", total=len(jobs)):
        pass


def _group_by_patient(cohort: SyntheticCohort, seed: int) -> list[PatientImages]:
    equipment = make_hospitals(seed, list(dict.fromkeys(cohort.table["site"])))
    jobs = []
    for _, rows in cohort.images.groupby(["site", "patient_id"], sort=False):
        records = rows.to_dict("records")
        orders = tuple(
            ImageOrder(**{field.name: record[field.name] for field in fields(ImageOrder)}) for record in records
        )
        burdens, shares = (tuple(rows[name].astype(float)) for name in ("burden", "consolidated_share"))
        jobs.append(PatientImages(equipment[orders[0].site], orders, burdens, shares))
    return jobs


def write_patient(out: Path, job: PatientImages, size: tuple[int, int]) -> None:
    """Write the missing images of a patient, each series completely or not at all."""
    first = job.orders[0]
    person = draw_physique(np.random.default_rng([first.anatomy_seed, 0]), first.sex, first.age_years)
    matrix, slices = size
    for modality in ("CT", "CXR"):
        missing = [
            i for i, o in enumerate(job.orders) if o.modality == modality and not make_series_path(out, o).exists()
        ]
        if not missing:
            continue
        if modality == "CT":
            grid = job.hospital.make_ct_grid(matrix, slices, person.lung_height_mm)
        else:
            grid = make_radiograph_grid(matrix, person)
        healthy = make_healthy_thorax(first.anatomy_seed, person, grid)
        for i in missing:
            # The foci are the patient's; a stream of their own keeps them apart from the anatomy's.
            thorax = add_pneumonia(healthy, first.anatomy_seed ^ 1, job.burdens[i], job.consolidated_shares[i])
            write_one = _write_ct if modality == "CT" else _write_radiograph
            write_one(out, thorax, job.hospital, job.orders[i])


def _write_ct(out: Path, thorax: Thorax, hospital: Hospital, order: ImageOrder) -> None:
    _write_masks(
        out / "masks" / order.series_uid,
        {name: getattr(thorax, name) for name in MASKS},
        make_ct_affine_ras(thorax.grid),
    )
    with _write_whole_folder(make_series_path(out, order)) as folder:
        write_ct(folder, scan_ct(hospital, thorax, order.seed), thorax.grid, hospital, order)


def _write_radiograph(out: Path, thorax: Thorax, hospital: Hospital, order: ImageOrder) -> None:
    projection = order.projection or "PA"
    pose = draw_pose(np.random.default_rng([order.seed, 0]), projection)
    image = simulate_exposure(project(thorax, projection, pose), order.seed, hospital.cxr_modality == "DX")
    pixel_mm = compute_plate(thorax.grid)[1]
    marked = {name: mask_xz[:, ::-1, None] for name, mask_xz in project_masks(thorax, projection, pose).items()}
    _write_masks(out / "masks" / order.instance_uid(0), marked, make_radiograph_affine_ras(pixel_mm))
    with _write_whole_folder(make_series_path(out, order)) as folder:
        write_radiograph(folder, image, pixel_mm, hospital, order)


def _write_masks(final: Path, masks: Mapping[str, np.ndarray], affine_ras: np.ndarray) -> None:
    if final.is_dir():  # whole, since it was renamed when it was; somebody may have drawn in it since
        return
    with _write_whole_folder(final) as folder:
        for name, array in masks.items():
            mask = nibabel.Nifti1Image(array.astype(np.uint8), affine_ras)
            mask.header.set_xyzt_units("mm")
            nibabel.save(mask, folder / f"{name}.nii.gz")


def make_series_path(out: Path, order: ImageOrder) -> Path:
    """Make the path of a series: hospital, patient, day, image."""
    name = f"{order.modality}-{order.seed:08x}"
    return out / order.site / f"P{order.anatomy_seed:08x}" / f"{order.acquired:%Y%m%d}" / name


@contextmanager
def _write_whole_folder(final: Path) -> Iterator[Path]:
    """Yield a folder to write into, which gets its final name when all files are in it.

    The child processes of a killed process go on for a while. If one of them was first, its folder stays, because the
    seed determines its content.
    """
    with suppress(FileExistsError), whole_folder(final, durable=False) as partial:
        yield partial
