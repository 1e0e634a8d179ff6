"""Each function of the Python interface states its arguments and what it returns."""

import inspect

import pytest

import kicc_ml


@pytest.mark.parametrize("name", [name for name in dir(kicc_ml) if inspect.isfunction(getattr(kicc_ml, name))])
def test_a_function_of_the_interface_states_each_argument_and_what_it_returns(name: str) -> None:
    function = getattr(kicc_ml, name)
    said = inspect.getdoc(function) or ""
    arguments, _, returned = said.partition("Args:\n")[2].partition("Returns:\n")
    assert returned.strip(), name
    assert [one for one in inspect.signature(function).parameters if f"    {one}: " not in arguments] == []
