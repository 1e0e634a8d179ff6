"""Read ``site.yaml``, the settings of a hospital node."""

from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from kicc_ml.core.errors import UserError
from kicc_ml.service.settings import SiteSettings

PAGE = "docs/hospital-node.md lists the keys"


def read_site_file(path: Path) -> SiteSettings:
    """Read and check the settings of a node; relative paths in the file are relative to its folder.

    Args:
        path: the file.

    Returns:
        the settings, with defaults for what the file leaves out.

    Raises:
        UserError: the file cannot be read, or a key or value of it is wrong; the message names it.
    """
    try:
        stated = OmegaConf.load(path)
        settings = OmegaConf.to_object(OmegaConf.merge(_make_schema(), stated))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {error}") from error
    except ConfigKeyError as error:
        raise UserError(f"{path}: there is no key {error.full_key}; {PAGE}") from error
    except MissingMandatoryValue as error:
        raise UserError(f"{path}: {error.full_key} is missing; {PAGE}") from error
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        key = getattr(error, "full_key", None)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: {key or 'the file'}: {reason}; {PAGE}") from error
    assert isinstance(settings, SiteSettings)
    try:
        settings.check()
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return _resolve_paths(settings, path.resolve().parent)


def _make_schema() -> DictConfig:
    """Make the keys with their types; OmegaConf lets nobody fill a frozen dataclass in unless it is told to."""
    schema: DictConfig = OmegaConf.structured(SiteSettings)
    OmegaConf.set_readonly(schema, False)
    for name in schema:
        if not OmegaConf.is_missing(schema, name) and OmegaConf.is_config(schema[name]):
            OmegaConf.set_readonly(schema[name], False)
    return schema


def _resolve_paths(settings: Any, folder: Path) -> Any:
    """Return the same settings with every path absolute."""
    values = {one.name: getattr(settings, one.name) for one in fields(settings)}
    changed = {
        name: _resolve_paths(value, folder) if is_dataclass(value) else folder / value.expanduser()
        for name, value in values.items()
        if is_dataclass(value) or isinstance(value, Path)
    }
    return replace(settings, **changed)
