from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kicc_ml.cohort.clinical_table import features, read_clinical
from kicc_ml.cohort.summary import summary
from kicc_ml.federated.coordinator import collect_sums
from kicc_ml.federated.hospital import Hospital
from kicc_ml.federated.messages import HospitalRefuses
from kicc_ml.federated.sums import LEAST, add_sums, make_table, sum_cases, sum_column
from tests.support.federation import Wire, make_cases, write_consortium

#: Items that count images and not patients.
IMAGES = ("ct_scans", "cxr_images")


def test_mean_and_sd_of_summed_hospitals_are_those_of_all_patients_together():
    draw = np.random.default_rng(1)
    columns = [draw.normal(70, 9, size) for size in (6, 40, 300)]
    columns[1][:7] = np.nan
    total = add_sums({"weight": sum_column(column)} for column in columns)["weight"]
    pooled = pd.Series(np.concatenate(columns))
    assert total.known == pooled.count()
    assert total.mean == pytest.approx(pooled.mean(), rel=1e-12)
    assert total.sd == pytest.approx(pooled.std(), rel=1e-9)


@pytest.mark.parametrize(
    ("ones", "zeros", "stated"),
    [(5, 5, True), (4, 30, False), (1, 30, False), (30, 4, False), (0, 30, True), (30, 0, True), (0, 4, False)],
)
def test_a_count_of_one_to_four_on_either_side_is_withheld(ones: int, zeros: int, stated: bool):
    assert (sum_column([1.0] * ones + [0.0] * zeros + [np.nan] * 9) is not None) == stated


def test_values_of_fewer_than_five_patients_are_withheld():
    assert sum_column([60.5, 71.0, 80.0, 33.0, np.nan]) is None
    assert sum_column([60.5, 71.0, 80.0, 33.0, 41.0]) is not None


def test_a_withheld_count_is_left_out_of_numerator_and_denominator_and_is_said():
    total = add_sums({"icu": sum_column(cells)} for cells in ([1.0] * 10 + [0.0] * 10, [1.0] * 2 + [0.0] * 50))["icu"]
    assert (total.known, total.sum, total.hospitals, total.withheld) == (20, 10, 1, 1)


def test_a_hospital_with_fewer_than_five_patients_states_nothing():
    with pytest.raises(HospitalRefuses):
        sum_cases(make_cases("small", LEAST - 1, 1))


@pytest.fixture(scope="module")
def summed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Wire, dict]:
    """A consortium whose hospitals stated their sums: the pooled repository, what went over the wire, totals."""
    folder = tmp_path_factory.mktemp("consortium")
    pooled, alone = write_consortium(folder, 240, 3)
    wire = Wire({site: Hospital(root, folder / "stores" / site) for site, root in alone.items()})
    return pooled, wire, collect_sums(wire, sorted(alone))


def test_no_number_date_or_row_of_a_patient_is_in_the_sums_that_hospitals_send(summed: tuple[Path, Wire, dict]):
    pooled, wire, _ = summed
    rows = pd.read_csv(pooled / "clinical.csv", dtype=str)
    sent = repr([message.figures for message in wire.sent])
    assert "age_years" in sent
    for column in ("patient_id", "admission_date", "oxygen_date"):
        assert not [cell for cell in rows[column].dropna() if cell in sent]
    assert str(pooled.parent) not in sent


def test_table_1_over_hospitals_is_that_of_the_pooled_repository(summed: tuple[Path, Wire, dict]):
    pooled, _, sums = summed
    table = make_table(sums["items"], sums["features"]).set_index("characteristic")
    expected, values = summary(pooled), features(read_clinical(pooled / "clinical.csv"))
    by_site = expected["by_site"]
    assert sum(sums["patients"].values()) == expected["patients"]
    compared = 0
    for item in sums["items"]:
        # The oracle leaves out the hospitals where a count is small, as the rule says, and adds the others.
        stated = [one for one in by_site.values() if _is_stated(one[item], one["known"][item], item in IMAGES)]
        assert table.loc[item, "withheld"] == len(by_site) - len(stated)
        assert table.loc[item, "count"] == sum(one[item] for one in stated)
        assert table.loc[item, "known"] == sum(one["known"][item] for one in stated)
        compared += len(stated) == len(by_site)
    assert compared >= 8  # items that no hospital withholds: equal to the pooled table
    for column in ("age_years", "crp_mg_l"):
        assert table.loc[column, "known"] == values[column].count()
        assert table.loc[column, "mean"] == pytest.approx(values[column].mean(), rel=1e-12)
        assert table.loc[column, "sd"] == pytest.approx(values[column].std(), rel=1e-9)


def _is_stated(count: int, known: int, of_images: bool) -> bool:
    without = 0 if of_images else known - count  # a patient may have several images
    return known >= LEAST and not 0 < count < LEAST and not 0 < without < LEAST
