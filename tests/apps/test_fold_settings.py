"""Settings of a network and of its data that contradict each other are refused before anything is made."""

import pytest

from kicc_ml.apps.configuration import compose_configuration, convert_to_plain
from kicc_ml.apps.fold_settings import refuse_absent_images
from kicc_ml.core.errors import UserError


@pytest.mark.parametrize("kind", ["ct", "cxr"])
def test_a_network_that_takes_images_which_the_data_leave_out_is_refused_with_the_remedy(kind: str) -> None:
    typed = ["experiment=outcome", f"data.canonical_{kind}=null"]
    with pytest.raises(UserError, match=rf"network\.{kind}=true takes them; say network\.{kind}=false too"):
        refuse_absent_images(convert_to_plain(compose_configuration("train", typed)))
    refuse_absent_images(convert_to_plain(compose_configuration("train", [*typed, f"network.{kind}=false"])))


@pytest.mark.parametrize("experiment", ["outcome", "outcome_cxr", "clinical", "lesion_ct", "severity_cxr"])
def test_no_experiment_of_the_package_contradicts_itself(experiment: str) -> None:
    refuse_absent_images(convert_to_plain(compose_configuration("train", [f"experiment={experiment}"])))
