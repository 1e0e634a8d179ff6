"""Findings about the masks that a source holds beside its images."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from kicc_ml.cohort.doctor.findings import Finding
from kicc_ml.cohort.mask_folders import FOLDER, REMEDY, mask_folders, misplaced_masks
from kicc_ml.core.errors import UserError
from kicc_ml.core.shown import format_count
from kicc_ml.core.types import Series, Volume
from kicc_ml.data.mask_file import read_placed_masks
from kicc_ml.dicom.index.build import SourceIndex

BAD = "save each region as a mask of two values on the grid of its image; kicc-ml leaves the case out until then"


def mask_findings(found: SourceIndex) -> Iterator[Finding]:
    """Find masks that match no image, cannot be used or are misplaced. Images that have masks are read."""
    yield from _misplaced(found)
    files = mask_folders(found.root, found.key)
    with_masks = [series for series in found.series if series.usable and series.uid in files]
    faults = [fault for series in with_masks for fault in _faults(series, files[series.uid])]
    if faults:
        sentence = f"{format_count(len(faults), 'mask')} cannot be used: {faults[0][1]}"
        yield Finding("must mend", "images", "bad_mask", sentence, len(faults), faults[0][0], BAD)


def _misplaced(found: SourceIndex) -> Iterator[Finding]:
    places = defaultdict(list)
    for one in misplaced_masks(found.root, found.series, found.key):
        places[one.why].append(one.where)
    for why, where in places.items():
        yield Finding(
            "must mend", "images", "mask_unused", f"{len(where)} not used: {why}", len(where), where[0], REMEDY
        )


def _faults(series: Series, files: Mapping[str, Path]) -> Sequence[tuple[str, str]]:
    """List the place of each unusable mask of a series (under its pseudonym), with the reason."""
    from kicc_ml.data.canonical import require_same_grid  # only a source with masks waits for PyTorch
    from kicc_ml.dicom.volume.read import read_volume

    volume: Volume | None = None
    faults = []
    for region, path in files.items():
        try:
            volume = volume or read_volume(series)
            mask_xyz, affine_ras = read_placed_masks({region: path}, {}, series, volume)[region]
            if series.modality == "CT":
                require_same_grid(mask_xyz.shape, affine_ras, volume)
        except UserError as error:
            faults.append((f"{FOLDER}/{series.uid} (a pseudonym), {region}", str(error).replace(f"{path}: ", "")))
    return faults
