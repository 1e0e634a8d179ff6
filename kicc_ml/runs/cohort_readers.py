"""The functions by which the cohort of a run may be read again, and the settings that each of them takes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kicc_ml.cohort.flow import Cohort
from kicc_ml.cohort.nifti_datasets import msd, nnunet
from kicc_ml.cohort.public import clinical_tables, covid_ct, images
from kicc_ml.cohort.public.aiforcovid import aiforcovid
from kicc_ml.cohort.public.covid_19_ar import covid_19_ar
from kicc_ml.cohort.public.hu_anchored import written_hu_ct
from kicc_ml.cohort.public.nccid import nccid
from kicc_ml.cohort.public.nysbu import nysbu
from kicc_ml.cohort.public.pooled import pooled
from kicc_ml.cohort.public.ricord import ricord1a
from kicc_ml.cohort.public.stoic import stoic
from kicc_ml.cohort.repository import repository
from kicc_ml.core.pseudonym import compute_key_fingerprint, load_repository_key
from kicc_ml.core.types import Case
from kicc_ml.runs.cohort_record import record_of

#: Keys of a cohort's settings that say where it lies. A run folder does not hold them: they may name a patient or a
#: person, and belong to another machine.
PLACES = ("root", "folder", "index_cache")


#: Under which name a run's settings keep what tells the key of the pseudonyms in its case ids
#: (:func:`kicc_ml.core.pseudonym.compute_key_fingerprint`).
KEY = "key_fingerprint"


#: Keys by which a repository's cases are selected.
SELECTING = (
    *("ct_window_days", "cxr_window_days", "guard_endpoints", "person_conflict"),
    *("gaps", "tilt", "ct_ranking", "serial", "composites", "mask_labels", "mask_names", "endpoints"),
)


#: Keys by which those of a data set of nnU-Net or MSD are.
OF_DATA_SET = ("site_pattern", "mask_labels", "spacing_known")


@dataclass(frozen=True)
class Reader:
    """A function that reads a kind of cohort again without writing, and the settings and places that it accepts."""

    read: Callable[..., Cohort]
    settings: tuple[str, ...] = ()
    places: tuple[str, ...] = ("root",)


#: By the name that the settings of a run call.
READERS: Mapping[str, Reader] = {
    "kicc_ml.cohort.repository.repository": Reader(repository, SELECTING, ("root", "index_cache")),
    "kicc_ml.cohort.public.synthetic.synthetic": Reader(repository, SELECTING, ("root", "index_cache")),
    "kicc_ml.cohort.public.hu_anchored.hu_ct": Reader(written_hu_ct, (), ("root", "folder")),
    "kicc_ml.cohort.public.images.covid_ct_seg": Reader(images.covid_ct_seg),
    "kicc_ml.cohort.public.images.covid_cxr": Reader(images.covid_cxr, ("person_conflict",)),
    "kicc_ml.cohort.public.images.covid_cxr_masks": Reader(images.covid_cxr_masks),
    "kicc_ml.cohort.public.images.covid_cxr_severity": Reader(images.covid_cxr_severity),
    "kicc_ml.cohort.public.aiforcovid.aiforcovid": Reader(aiforcovid),
    "kicc_ml.cohort.nifti_datasets.nnunet": Reader(nnunet, OF_DATA_SET),
    "kicc_ml.cohort.nifti_datasets.msd": Reader(msd, OF_DATA_SET),
    "kicc_ml.cohort.public.pooled.pooled": Reader(pooled, ("sets",), ("root", "index_cache")),
    "kicc_ml.cohort.public.ricord.ricord1a": Reader(ricord1a, (), ("root", "index_cache")),
    "kicc_ml.cohort.public.nysbu.nysbu": Reader(nysbu),
    "kicc_ml.cohort.public.covid_19_ar.covid_19_ar": Reader(covid_19_ar),
    "kicc_ml.cohort.public.nccid.nccid": Reader(nccid),
    "kicc_ml.cohort.public.stoic.stoic": Reader(stoic),
    "kicc_ml.cohort.public.covid_ct.covid19_ct_seg": Reader(covid_ct.covid19_ct_seg),
    "kicc_ml.cohort.public.covid_ct.covid19_20": Reader(covid_ct.covid19_20),
    "kicc_ml.cohort.public.covid_ct.mosmed": Reader(covid_ct.mosmed),
    "kicc_ml.cohort.public.covid_ct.medseg": Reader(covid_ct.medseg),
    "kicc_ml.cohort.public.clinical_tables.catanzaro": Reader(clinical_tables.catanzaro),
    "kicc_ml.cohort.public.clinical_tables.wuhan": Reader(clinical_tables.wuhan),
}


def make_cohort_record(cohort: Mapping[str, Any], cases: Sequence[Case]) -> dict[str, dict[str, str]]:
    """Compute the digests of a cohort's cases for ``cohort.json``; ``cohort`` are its settings, with its places."""
    return record_of(cases, load_cohort_key(READERS.get(str(cohort.get("_target_"))), cohort))


def load_cohort_key(reader: Reader | None, places: Mapping[str, Any]) -> bytes | None:
    """Load the key of a repository's pseudonyms; None for a cohort without one."""
    return load_repository_key(Path(places["root"])) if reader is not None and reader.read is repository else None


def remove_places(cohort: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the places from the settings of a cohort, as a run folder holds them."""
    return {key: value for key, value in cohort.items() if key not in PLACES}


def make_key_setting(cohort: Mapping[str, Any]) -> dict[str, str]:
    """Return the fingerprint of a repository's pseudonym key as a setting; an empty dictionary for other cohorts.

    Raises:
        UserError: the key is too weak to protect anyone.
    """
    reader = READERS.get(str(cohort.get("_target_")))
    if reader is None or reader.read is not repository:
        return {}
    return {KEY: compute_key_fingerprint(load_repository_key(Path(cohort["root"])))}
