"""What is said of an error to readers who may not see what is in the files."""

import os
from pathlib import Path

import pytest

from kicc_ml.core.errors import UserError, describe_without_quotes


def make_error(message: str, cause: Exception) -> Exception:
    try:
        raise UserError(message) from cause
    except UserError as error:
        return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("unknown units of KIM CHULSOO"), "ValueError"),
        (UserError("no lungs were found"), "no lungs were found"),
        (
            make_error("it cannot be read (units of KIM); export it again", ValueError("units of KIM")),
            "it cannot be read (ValueError); export it again",
        ),
        (make_error("a.dcm: No such file", FileNotFoundError(2, os.strerror(2))), "a.dcm: No such file"),
        (make_error("/in/a.dcm: 3 bits", UserError("3 bits")), "slice 1: 3 bits"),
    ],
)
def test_words_of_libraries_are_replaced_by_the_kind_of_their_error(error: Exception, reason: str):
    assert describe_without_quotes(error, {Path("/in/a.dcm"): "slice 1"} if "/in" in str(error) else {}) == reason
