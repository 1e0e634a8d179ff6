"""Counts of a synthetic cohort: the published KICC-19, a small demo, and any size in between."""

import math
from dataclasses import dataclass, replace

from kicc_ml.core.errors import UserError

#: Folder names in the order they are handed out: Korean cities, four times Daegu, the epicentre of 2020.
#: They stand for no real hospital.
SITE_NAMES = (
    "daegu-1", "seoul-1", "busan-1", "daejeon-1", "daegu-2", "incheon-1", "gwangju-1", "daegu-3", "suwon-1",
    "cheonan-1", "daegu-4", "seoul-2", "pohang-1", "gyeongju-1", "changwon-1", "andong-1", "gumi-1",
)  # fmt: skip


@dataclass(frozen=True)
class Preset:
    """The exact counts of a cohort; ``oxygen`` is any oxygen support, the ventilated among them.

    ``least_oxygen_share`` and ``least_icu_each_way`` (events, and non-events) hold in every hospital: what an
    enriched cohort promises. ``late_baseline_share`` of the patients were first imaged later than two days
    after admission, some of them only after an endpoint. ``shared_ids`` pairs of hospitals gave one PatientID
    to two people.
    """

    name: str
    sites: int
    patients: int
    men: int
    age_mean: float
    age_min: int
    age_max: int
    underlying_disease: int
    fever: int
    cough: int
    lymphocytopenia: int
    thrombocytopenia: int
    elevated_crp: int
    oxygen: int
    ventilation: int
    icu: int
    death: int
    ct_only: int
    cxr_only: int
    ct_scans: int
    cxr_images: int
    smallest_site: int
    least_oxygen_share: float = 0.0
    least_icu_each_way: int = 0
    late_baseline_share: float = 0.1
    shared_ids: int = 1

    @property
    def ct_patients(self) -> int:
        """Return the number of patients with a CT."""
        return self.patients - self.cxr_only

    @property
    def cxr_patients(self) -> int:
        """Return the number of patients with a radiograph."""
        return self.patients - self.ct_only

    def __post_init__(self) -> None:
        smallest = max(self.smallest_site, 2 * self.least_icu_each_way, 1)
        filled = self.patients >= self.sites * smallest
        shown = self.ct_scans >= self.ct_patients and self.cxr_images >= self.cxr_patients
        rules = {
            "at least one hospital": self.sites >= 1,
            f"at least {smallest} patients in each of {self.sites} hospitals": filled,
            "the ventilated among those on oxygen": self.ventilation <= self.oxygen <= self.patients,
            "every patient imaged": self.ct_only + self.cxr_only <= self.patients,
            "an image for every imaged patient": shown,
        }
        if broken := [rule for rule, holds in rules.items() if not holds]:
            raise UserError(
                f"preset {self.name} with {self.patients} patients and {self.sites} sites cannot have "
                f"{'; nor '.join(broken)}: ask for more patients or fewer sites"
            )


#: Yoon SH et al., J Korean Med Sci 2020;35(46):e413. The smallest hospital is a setting, not published.
KICC19 = Preset(
    name="kicc19", sites=17, patients=522, men=239, age_mean=52.3, age_min=11, age_max=97,
    underlying_disease=201, fever=292, cough=245,
    lymphocytopenia=151, thrombocytopenia=86, elevated_crp=227,
    oxygen=121, ventilation=38, icu=49, death=21,
    ct_only=25, cxr_only=57, ct_scans=658, cxr_images=1475,
    smallest_site=5, shared_ids=3,
)  # fmt: skip

#: Small, and sicker than KICC-19, so that every hospital can be scored; baselines are early, so none is lost.
DEMO = Preset(
    name="demo", sites=4, patients=48, men=23, age_mean=57.0, age_min=19, age_max=91,
    underlying_disease=22, fever=29, cough=24,
    lymphocytopenia=20, thrombocytopenia=10, elevated_crp=27,
    oxygen=21, ventilation=9, icu=12, death=5,
    ct_only=4, cxr_only=6, ct_scans=46, cxr_images=70,
    smallest_site=8, least_oxygen_share=0.3, least_icu_each_way=2, late_baseline_share=0.0,
)  # fmt: skip

PRESETS = {preset.name: preset for preset in (KICC19, DEMO)}

_PATIENT_COUNTS = (
    *("men", "underlying_disease", "fever", "cough", "lymphocytopenia", "thrombocytopenia", "elevated_crp"),
    *("oxygen", "ventilation", "icu", "death", "ct_only", "cxr_only"),
)


def scale_preset(preset: Preset, patients: int | None = None, sites: int | None = None) -> Preset:
    """Scale a preset to another number of patients or sites, with counts in proportion, rounded and kept feasible.

    Raises:
        UserError: the hospitals cannot be filled, or the promises of an enriched preset cannot be met.
    """
    patients = preset.patients if patients is None else patients
    sites = preset.sites if sites is None else sites
    if (patients, sites) == (preset.patients, preset.sites):
        return preset
    ratio = patients / preset.patients
    counts = {name: round(getattr(preset, name) * ratio) for name in _PATIENT_COUNTS}
    # Rounding up in each hospital costs less than one patient a hospital.
    counts["oxygen"] = max(counts["oxygen"], compute_min_oxygen(preset, patients, sites))
    counts["icu"] = max(counts["icu"], preset.least_icu_each_way * sites)
    ct_patients, cxr_patients = patients - counts["cxr_only"], patients - counts["ct_only"]
    return replace(
        preset,
        patients=patients,
        sites=sites,
        **counts,
        ct_scans=max(ct_patients, round(preset.ct_scans * ratio)),
        cxr_images=max(cxr_patients, round(preset.cxr_images * ratio)),
        smallest_site=min(preset.smallest_site, patients // max(sites, 1)),
        shared_ids=min(preset.shared_ids, sites - 1),
    )


def compute_min_oxygen(preset: Preset, patients: int, sites: int) -> int:
    """Compute a count on oxygen that gives every hospital its promised share for any sizes of hospitals."""
    if not preset.least_oxygen_share:
        return 0
    return min(patients, math.ceil(preset.least_oxygen_share * patients) + sites)


def list_site_names(sites: int) -> list[str]:
    """List the first ``sites`` folder names, continued with further hospitals of the same cities."""
    names = list(SITE_NAMES)
    highest = {name.rsplit("-", 1)[0]: int(name.rsplit("-", 1)[1]) for name in sorted(names)}
    while len(names) < sites:
        for city in highest:
            highest[city] += 1
            names.append(f"{city}-{highest[city]}")
    return names[:sites]
