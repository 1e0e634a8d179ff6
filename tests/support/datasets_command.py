"""Helpers of test_cli_datasets and test_cli_datasets_get."""

from typer.testing import CliRunner

from kicc_ml.apps.cli import app


def run(*arguments: object):
    return CliRunner().invoke(app, ["datasets", *map(str, arguments)])
