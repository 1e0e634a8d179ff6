"""A progress bar leaves standard output, and the cells of a notebook, to the results."""

import builtins

import pytest

from kicc_ml.core.progress import track


class ZMQInteractiveShell:
    """What rich takes for the shell of a notebook."""


def test_a_progress_bar_in_a_notebook_draws_nothing_into_the_results(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)
    assert list(track([1, 2, 3], "counting")) == [1, 2, 3]
    assert capsys.readouterr().out == ""
