"""Presets of any size stay feasible, or say why not."""

import dataclasses

import pytest

from kicc_ml.core.errors import UserError
from kicc_ml.synthetic.clinical import draw_cohort
from kicc_ml.synthetic.presets import DEMO, KICC19, Preset, list_site_names, scale_preset


def test_the_kicc19_preset_is_the_published_table():
    # Yoon SH et al., J Korean Med Sci 2020;35(46):e413, abstract
    assert (KICC19.patients, KICC19.sites, KICC19.men, KICC19.age_mean) == (522, 17, 239, 52.3)
    assert (KICC19.ct_patients, KICC19.cxr_patients) == (465, 497)
    assert (KICC19.oxygen, KICC19.ventilation, KICC19.icu, KICC19.death) == (121, 38, 49, 21)


@pytest.mark.parametrize("preset", [KICC19, DEMO], ids=lambda preset: preset.name)
@pytest.mark.parametrize(("patients", "sites"), [(16, 4), (30, 2), (7, 1), (60, None), (400, 23)])
def test_a_scaled_preset_can_be_drawn(preset: Preset, patients: int, sites: int | None):
    asked = scale_preset(preset, patients, sites)
    table = draw_cohort(asked, seed=5).table
    assert len(table) == patients
    assert table["site"].nunique() == (sites or preset.sites)
    assert table["oxygen"].sum() == asked.oxygen
    assert table["icu"].sum() == asked.icu


def test_one_patient_is_a_cohort():
    assert len(draw_cohort(scale_preset(KICC19, 1, 1), seed=0).table) == 1


def test_counts_scale_in_proportion():
    twice = scale_preset(KICC19, 2 * 522)
    assert (twice.men, twice.oxygen, twice.ct_scans, twice.cxr_images) == (478, 242, 1316, 2950)


@pytest.mark.parametrize(("patients", "sites"), [(3, 4), (0, None), (15, 4), (20, 0), (20, -1)])
def test_hospitals_that_cannot_be_filled_are_refused(patients: int, sites: int | None):
    with pytest.raises(UserError, match="more patients or fewer sites"):
        scale_preset(DEMO, patients, sites)


def test_contradicting_counts_are_refused():
    with pytest.raises(UserError, match="ventilated among those on oxygen"):
        dataclasses.replace(DEMO, ventilation=30)


def test_site_names_never_repeat():
    names = list_site_names(60)
    assert len(set(names)) == 60
    assert sum(name.startswith("daegu") for name in names[:17]) == 4
