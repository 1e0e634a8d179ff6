"""One set-up of Jinja for all pages. Each template lies beside the code that fills it."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jinja2

from kicc_ml.core.shown import escape_for_page

NOTHING: Mapping[str, Any] = MappingProxyType({})


def read_template(
    room: str,
    name: str,
    filters: Mapping[str, Callable[..., Any]] = NOTHING,
    functions: Mapping[str, Callable[..., Any]] = NOTHING,
) -> jinja2.Template:
    """Read a template; what is put into it is shown as text, never as markup.

    Args:
        room: the package whose folder it lies in; ``base.html.j2`` and ``document.css`` of this one are found too.
        name: its file.
        filters: what it may put values through, by name.
        functions: what it may call, by name.

    Returns:
        the template. Its ``render`` raises ``jinja2.UndefinedError`` for a name that it is not given.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package, ".") for package in (room, "kicc_ml.core")]),
        autoescape=True,
        finalize=escape_for_page,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    environment.globals |= functions
    return environment.get_template(name)
