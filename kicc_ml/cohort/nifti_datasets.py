"""Training folders of nnU-Net and of the Medical Segmentation Decathlon (MSD) as cohorts.

``dataset.json`` describes the folder. Case ids are those of the folder. The hospitals are read from ``sites.csv``
beside it (columns ``case_id``, ``site`` and optionally ``person_id``), or from a pattern of the case ids.
"""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from kicc_ml.cohort.flow import Cohort, Flow
from kicc_ml.cohort.mask_folders import check_labels
from kicc_ml.cohort.public.nifti_files import NO_HOSPITALS, Scan, existing_folder, make_cohort
from kicc_ml.cohort.table_file import read_cells
from kicc_ml.core.errors import UserError
from kicc_ml.core.received import read_json_object
from kicc_ml.core.regions import MASK_NAMES, find_named_region, with_parts
from kicc_ml.core.shown import format_count
from kicc_ml.core.types import Units
from kicc_ml.data.mask_file import NO_LABELS, Labels
from kicc_ml.dicom.series.image_files import NIFTI_SUFFIXES, make_nifti_series, strip_suffix

logger = logging.getLogger(__name__)

DATASET, SITES = "dataset.json", "sites.csv"
REMEDY = "lay the dataset.json of nnU-Net or MSD there"
BACKGROUND = ("background", "ignore")
#: The name for values that are another region, or none.
OTHER = "other"
#: File names of nnU-Net end with the channel number.
CHANNEL = re.compile(r"(.+)_(\d{4})")
#: The part of a case id pattern that matches the hospital.
SITE_PART = "{site}"
MAX_STARS = 3


@dataclass(frozen=True)
class Pair:
    """A scan of a data set and its label file."""

    case_id: str
    image: Path
    label: Path


def nnunet(
    root: str | Path | None,
    site_pattern: str | None = None,
    mask_labels: Labels = NO_LABELS,
    spacing_known: bool = True,
) -> Cohort:
    """Read the training cases of an nnU-Net data set: ``imagesTr/<case>_0000.nii.gz`` and ``labelsTr/<case>.nii.gz``.

    ``dataset.json`` of nnU-Net 1 or 2 is read: ``channel_names`` or ``modality``, ``labels`` (also regions of several
    values), ``file_ending``, and the mapping ``dataset`` if present. The channel ``CT`` is in HU; any other channel is
    read as grey values without units. Label names are matched with this project's regions (infection, GGO, left lung,
    ...); other labels are left out with a warning. If the lung has a single value, lesions are part of the lung.

    Args:
        root: the folder ``DatasetNNN_Name``, or a folder that contains only that one.
        site_pattern: the place of the hospital in a case id, for a folder without ``sites.csv``: ``{site}_*`` takes the
            text before the first underscore; ``*`` is any text.
        mask_labels: the meaning of the values of the label files, in place of the names in ``dataset.json``.
        spacing_known: False if the files state 1 mm because the true spacing is unknown.

    Raises:
        UserError: there is no data set, no label is a region, or a case has no hospital.
    """
    folder = _dataset_folder(existing_folder(root, "the data set"))
    facts = read_json_object(folder / DATASET, REMEDY)
    channel, units = _channel(facts, folder)
    ending = str(facts.get("file_ending", NIFTI_SUFFIXES[1]))
    if ending.lower() not in NIFTI_SUFFIXES:
        raise UserError(f"{folder / DATASET}: file_ending is {ending}; images have to be NIfTI")
    pairs = _listed_by_nnunet(facts, folder, channel) or _found_by_nnunet(folder, channel, ending)
    return _cohort(folder, pairs, units, _labels_of_regions(facts, folder, mask_labels), site_pattern, spacing_known)


def msd(
    root: str | Path | None,
    site_pattern: str | None = None,
    mask_labels: Labels = NO_LABELS,
    spacing_known: bool = True,
) -> Cohort:
    """Read the training cases of an MSD task: the pairs of ``image`` and ``label`` that ``training`` in its JSON lists.

    Arguments and labels are those of :func:`nnunet`. A case id is the name of the label file without its suffix.
    """
    folder = _dataset_folder(existing_folder(root, "the data set"))
    facts = read_json_object(folder / DATASET, REMEDY)
    _, units = _channel(facts, folder)
    pairs = [
        Pair(strip_suffix(label), _inside(folder, one.get("image")), label)
        for one in _objects(facts, "training", folder)
        for label in [_inside(folder, one.get("label"))]
    ]
    if not pairs:
        raise UserError(f"{folder / DATASET} has no list 'training'; for a data set of nnU-Net say cohort=nnunet")
    return _cohort(folder, pairs, units, _labels_of_regions(facts, folder, mask_labels), site_pattern, spacing_known)


def _dataset_folder(root: Path) -> Path:
    if (root / DATASET).is_file():
        return root
    found = sorted(path.parent for path in root.glob(f"*/{DATASET}"))
    if len(found) != 1:
        there = f"; there are {', '.join(path.name for path in found)}" if found else ""
        raise UserError(f"{root} holds no {DATASET}{there}; name the folder of one data set: cohort.root=DIR")
    return found[0]


def _objects(facts: Mapping[str, Any], name: str, folder: Path) -> list[dict[str, Any]]:
    listed = facts.get(name, [])
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise UserError(f"{folder / DATASET}: {name} is no list of pairs of image and label; {REMEDY}")
    return listed


def _inside(folder: Path, stated: Any) -> Path:
    """Return the path of a file that ``dataset.json`` names. Raises UserError if it is not below the folder."""
    path = PurePosixPath(str(stated or ""))
    if not path.name or path.is_absolute() or ".." in path.parts:
        raise UserError(f"{folder / DATASET}: {stated!r} is no file below {folder}; correct the list")
    return folder / path


def _channel(facts: Mapping[str, Any], folder: Path) -> tuple[int, Units]:
    """Find the number of the channel to read, and its units: CT if there is one, else the only channel."""
    stated = facts.get("channel_names", facts.get("modality", {"0": "CT"}))
    channels = stated if isinstance(stated, dict) else {}
    names = {str(number): str(name).strip().lower() for number, name in channels.items()}
    numbers = [number for number, name in names.items() if name == "ct"] or list(names)
    if len(numbers) != 1 or not numbers[0].isdecimal():
        raise UserError(
            f"{folder / DATASET}: channels {', '.join(names.values()) or 'none'}; one is read, called CT where there "
            "are several"
        )
    return int(numbers[0]), "hu" if names[numbers[0]] == "ct" else "arbitrary"


def _listed_by_nnunet(facts: Mapping[str, Any], folder: Path, channel: int) -> list[Pair]:
    """List the pairs in the mapping ``dataset`` of nnU-Net 2, if present."""
    listed = facts.get("dataset", {})
    if not isinstance(listed, dict):
        raise UserError(f"{folder / DATASET}: dataset is no mapping of cases to images and label; {REMEDY}")
    pairs = []
    for case_id, one in listed.items():
        images = one.get("images") if isinstance(one, dict) else None
        if not isinstance(images, list) or len(images) <= channel:
            raise UserError(f"{folder / DATASET}: dataset.{case_id} has no image of channel {channel}; {REMEDY}")
        pairs.append(Pair(str(case_id), _inside(folder, images[channel]), _inside(folder, one.get("label"))))
    return pairs


def _found_by_nnunet(folder: Path, channel: int, ending: str) -> list[Pair]:
    """Pair images and labels by name; a case of which one of the two lacks is among them."""
    images = sorted(path for path in (folder / "imagesTr").glob(f"*{ending}") if path.name[0] != ".")
    named = {path: CHANNEL.fullmatch(path.name.removesuffix(ending)) for path in images}
    found = {one[1]: path for path, one in named.items() if one and int(one[2]) == channel}
    labels = {path.name.removesuffix(ending): path for path in (folder / "labelsTr").glob(f"*{ending}")}
    return [
        Pair(
            case_id,
            found.get(case_id, folder / "imagesTr" / f"{case_id}_{channel:04d}{ending}"),
            folder / "labelsTr" / f"{case_id}{ending}",
        )
        for case_id in sorted({*found, *labels})
        if case_id[:1] != "."
    ]


def _labels_of_regions(facts: Mapping[str, Any], folder: Path, stated: Labels) -> dict[str, Labels]:
    """Map each region to the meaning of the values in its label files."""
    if stated:
        named = dict(check_labels(stated))
        return dict.fromkeys([region for region in MASK_NAMES if region in named.values()], named)
    names = _values_of_names(facts, folder)
    values: dict[str, set[int]] = {}
    for name, marked in names.items():
        if region := find_named_region(name):
            values.setdefault(region, set()).update(marked)
    if not values:
        raise UserError(
            f"{folder / DATASET}: none of the labels {', '.join(names)} is a region ({', '.join(MASK_NAMES)}); "
            "say what they are: masks.labels={1: lesion}"
        )
    if others := sorted(name for name in names if not find_named_region(name)):
        logger.warning("%s: labels that are no region are left out: %s", folder / DATASET, ", ".join(others))
    if len(values.get("lung", ())) == 1:  # a voxel has one value, so a lesion voxel would not count as lung
        values["lung"] |= {value for region in with_parts("lesion") for value in values.get(region, ())}
    everything = {value for marked in names.values() for value in marked}
    return {region: {one: region if one in own else OTHER for one in everything} for region, own in values.items()}


def _values_of_names(facts: Mapping[str, Any], folder: Path) -> dict[str, tuple[int, ...]]:
    """Read the values by label: ``{"lesion": 1, "lung": [1, 2]}`` (nnU-Net 2), ``{"1": "lesion"}`` (nnU-Net 1, MSD)."""
    labels = facts.get("labels")
    found: dict[str, tuple[int, ...]] = {}
    for key, value in labels.items() if isinstance(labels, dict) else ():
        name, marked = (
            (value, [key]) if isinstance(value, str) else (key, value if isinstance(value, list) else [value])
        )
        if not all(str(one).isdecimal() for one in marked):
            raise UserError(f"{folder / DATASET}: the label {name} is {value}; values are whole numbers")
        if str(name).strip().lower() not in BACKGROUND:
            found[str(name)] = tuple(int(one) for one in marked)
    return found


def _cohort(
    folder: Path,
    pairs: Sequence[Pair],
    units: Units,
    labels: Mapping[str, Labels],
    site_pattern: str | None,
    spacing_known: bool,
) -> Cohort:
    there = [pair for pair in pairs if pair.image.is_file()]
    if lacking := [pair.image for pair in pairs if not pair.image.is_file()]:
        logger.warning("%s not there, for example %s", format_count(len(lacking), "scan"), lacking[0])
    if unlabelled := [pair.label for pair in there if not pair.label.is_file()]:
        logger.warning("%s not there, for example %s", format_count(len(unlabelled), "label file"), unlabelled[0])
    sites = _sites([pair.case_id for pair in there], folder, site_pattern)
    scans = [
        Scan(
            pair.case_id,
            sites[pair.case_id][0],
            make_nifti_series(
                pair.image, site=sites[pair.case_id][0], patient=pair.case_id, units=units, spacing_known=spacing_known
            ),
            dict.fromkeys(labels, pair.label) if pair.label.is_file() else {},
            labels,
            person=sites[pair.case_id][1],
        )
        for pair in there
    ]
    flow = Flow(rows=len(pairs), unit="training cases of the data set")
    if lacking:
        flow.excluded["the scan is not there"] = len(lacking)
    cohort = make_cohort(scans, flow, folder, f"{DATASET}, imagesTr and labelsTr")
    if not site_pattern and not (folder / SITES).is_file():
        flow.counts[NO_HOSPITALS] = len(cohort)
    return cohort


def _sites(cases: Sequence[str], folder: Path, pattern: str | None) -> dict[str, tuple[str, str]]:
    """Find hospital and person of each case in ``sites.csv``, else by the pattern, else the folder is the site."""
    if (folder / SITES).is_file():
        return _sites_of_table(cases, folder / SITES)
    if pattern is None:
        return dict.fromkeys(cases, (folder.name, ""))
    matches = {case: _expression(pattern).fullmatch(case) for case in cases}
    if strange := [case for case, found in matches.items() if not found]:
        raise UserError(
            f"cohort.site_pattern={pattern} does not fit {_some(strange)}; correct it, or write {folder / SITES}"
        )
    return {case: (found["site"], "") for case, found in matches.items() if found}


def _sites_of_table(cases: Iterable[str], path: Path) -> dict[str, tuple[str, str]]:
    table = read_cells(path)
    if lacking := {"case_id", "site"} - set(table):
        raise UserError(f"{path}: column(s) missing: {', '.join(sorted(lacking))}")
    persons = table["person_id"] if "person_id" in table else [None] * len(table)
    rows = zip(table["case_id"], table["site"], persons, strict=True)
    found = {
        case: (site, person if isinstance(person, str) else "")
        for case, site, person in rows
        if isinstance(case, str) and isinstance(site, str)  # an empty cell is not a str
    }
    if strange := [case for case in cases if case not in found]:
        raise UserError(f"{path} has no hospital of {_some(strange)}; add a line for each case")
    return found


def _expression(pattern: str) -> re.Pattern[str]:
    """Convert a pattern of case ids to a regular expression; every allowed pattern matches in short time."""
    if pattern.count(SITE_PART) != 1 or pattern.count("*") > MAX_STARS:
        raise UserError(
            f"cohort.site_pattern={pattern}: write {SITE_PART} once and * at most {MAX_STARS} times, for example "
            f"'{SITE_PART}_*'"
        )
    parts = {SITE_PART: "(?P<site>.+?)", "*": ".*"}
    return re.compile("".join(parts.get(part, re.escape(part)) for part in re.split(r"(\{site\}|\*)", pattern)))


def _some(cases: Sequence[str]) -> str:
    return f"{format_count(len(cases), 'case')}, for example {cases[0]}"
