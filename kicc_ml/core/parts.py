"""Parts of a training by name: what ``_target_`` means, who may name what, and which package it came from.

What a user types may name anything that Python can import. What arrives in a run folder may name what this project
ships, and what lies in packages that the user trusts; of libraries, :mod:`kicc_ml.core.libraries` says what.
"""

import hashlib
import importlib
import importlib.metadata
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from pkgutil import resolve_name
from types import MappingProxyType
from typing import Any

from kicc_ml.core.errors import UserError
from kicc_ml.core.help_pages import TRUST
from kicc_ml.core.libraries import find_place, is_library, is_part_of_runs

TARGET, PARTIAL = "_target_", "_partial_"
#: Under which setting a run says what its parts from elsewhere came from.
PACKAGES = "packages"
#: MONAI's transforms that apply one of another package, as arrays or in dictionaries.
ADAPTER = re.compile(r"monai\.transforms\.(?:[\w.]+\.)?(?:Rand)?(TorchIO|TorchVision)(?:d|D|Dict)?")


class NotTrusted(UserError):
    """A run names parts that are not shipped here, and that may not or cannot be taken from elsewhere."""

    page = TRUST


@dataclass(frozen=True)
class Package:
    """A Python package as it is installed here; ``version`` is "" where it states none.

    ``digest`` is the SHA-256 over its source files.
    """

    name: str
    version: str
    digest: str


def find_part(target: str) -> Any:
    """Find the class or function that a ``_target_`` names.

    Raises:
        UserError: it cannot be imported, or nothing that can be called has this name.
    """
    try:
        part = resolve_name(target)
    except (Exception, SystemExit) as error:  # the module of a stranger may fail in any way, or be a script
        remedy = "correct the name, or install its package (or name its folder in PYTHONPATH)"
        reason = _in_one_line(_import_fault(target, error))
        raise UserError(f"the settings name {target}, which cannot be imported ({reason}); {remedy}") from error
    if not callable(part):
        raise UserError(f"the settings name {target}, which is no class or function; correct the name")
    return part


def _import_fault(target: str, error: BaseException) -> BaseException:
    """Find what is wrong with the module of a target, if its name was not found for that; else return the error."""
    module = target.rpartition(".")[0]
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as missing:
        return error if missing.name is None or module.startswith(missing.name) else missing
    except (Exception, SystemExit) as broken:
        return broken
    return error


def _in_one_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def targets_in(settings: Any) -> Iterator[str]:
    """Yield every ``_target_`` in plain settings, the outermost first."""
    if isinstance(settings, Mapping):
        if TARGET in settings:
            yield str(settings[TARGET])
            yield from _adapted(settings)
        for value in settings.values():
            yield from targets_in(value)
    elif isinstance(settings, Sequence) and not isinstance(settings, str | bytes):
        for value in settings:
            yield from targets_in(value)


def _adapted(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield what an adapter of MONAI takes from another package, by its name there."""
    adapter = ADAPTER.fullmatch(str(settings[TARGET]))
    if adapter and isinstance(settings.get("name"), str):
        yield f"{adapter[1].lower()}.transforms.{settings['name']}"


def build_part(settings: Any, live: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """Call what plain settings name, as Hydra does: parts within parts first, ``_partial_`` parts not yet.

    Args:
        settings: plain values; a mapping with a ``_target_`` is a call with the other keys as its parameters.
        live: further parameters of the outermost call.

    Raises:
        UserError: something cannot be imported, or does not take these parameters.
    """
    if isinstance(settings, Mapping):
        values = {str(key): build_part(value) for key, value in settings.items()}
        return _call(values, live) if TARGET in settings else values
    if isinstance(settings, list | tuple):
        return [build_part(value) for value in settings]
    return settings


def _call(values: dict[str, Any], live: Mapping[str, Any]) -> Any:
    target, is_partial = str(values.pop(TARGET)), values.pop(PARTIAL, False)
    part = find_part(target)
    if is_partial:
        return partial(part, **values, **live)
    try:
        return part(**values, **live)
    except (TypeError, ValueError) as error:
        raise UserError(f"{target} cannot be made of its settings: {error}") from error


def package_of(target: str) -> str:
    """Return the package that a ``_target_`` lies in."""
    return target.partition(".")[0]


def refuse_untrusted(settings: Any, shipped: Collection[str], trust: Collection[str], packages: Any) -> None:
    """Refuse settings of a run that would call what nobody here answers for.

    Args:
        settings: of the part that is to be built.
        shipped: targets that this project may call whoever names them.
        trust: packages that the user trusts; the whole name of a part trusts this part, whatever its package is.
        packages: what the run says of the packages it was trained with.

    Raises:
        NotTrusted: a target lies in a package that is not trusted, is not here, or is not the one of the training.
    """
    foreign = [target for target in targets_in(settings) if target not in shipped]
    for target in foreign:
        _refuse_name(target, shipped, trust)
    for part in _library_parts(settings, trust):
        if place := find_place(part):
            raise NotTrusted(f"it gives {part[TARGET]} the file or address {place}; a run names none to a library")
    for name in dict.fromkeys(map(package_of, foreign)):
        _refuse_other_package(name, packages)
    for target in foreign:
        _refuse_home(target, trust)


def _refuse_name(target: str, shipped: Collection[str], trust: Collection[str]) -> None:
    """Refuse a target by its name, before anything is imported."""
    name = package_of(target)
    if target in trust or (name in trust and (is_part_of_runs(target) or not is_library(name))):
        return
    said = f"it names {target}, which this project does not ship{_shipped(shipped)}"
    if is_library(name) and not is_part_of_runs(target):
        raise NotTrusted(
            f"{said}, and of {name} a run may name networks and transforms alone; ask for a run without it"
        )
    raise NotTrusted(
        f"{said}; if you trust the package {name}, install it and say --trust {name} (in scripts trust=[{name}])"
    )


def _shipped(shipped: Collection[str]) -> str:
    return f" (it ships {', '.join(shipped)})" if shipped else ""


def _refuse_home(target: str, trust: Collection[str]) -> None:
    """Refuse what a trusted package has imported from elsewhere, or what a library keeps in another module."""
    home = str(getattr(find_part(target), "__module__", None))
    if target in trust:
        return
    if package_of(home) not in trust:
        raise NotTrusted(f"it names {target}, which lies in the package {package_of(home)}; --trust names others")
    if is_library(package_of(home)) and not is_part_of_runs(home):
        raise NotTrusted(f"it names {target}, which lies in {home}, whose parts a run may not name")


def _library_parts(settings: Any, trust: Collection[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the settings of each part of a library, but for those that the user trusts by their whole name."""
    if isinstance(settings, Mapping):
        target = str(settings.get(TARGET, ""))
        if is_part_of_runs(target) and target not in trust:
            yield settings
        for value in settings.values():
            yield from _library_parts(value, trust)
    elif isinstance(settings, Sequence) and not isinstance(settings, str | bytes):
        for value in settings:
            yield from _library_parts(value, trust)


def describe_packages(settings: Any, shipped: Collection[str]) -> dict[str, dict[str, str]]:
    """Describe the packages that a run's parts from elsewhere lie in: version and digest by name."""
    names = {package_of(target) for target in targets_in(settings) if target not in shipped}
    return {name: _state(describe_package(name)) for name in sorted(names - {"kicc_ml"})}


@cache
def describe_package(name: str) -> Package:
    """Describe the package of this name as it is here. Raises NotTrusted where it cannot be imported."""
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise NotTrusted(f"the package {name} is not installed here ({error}); install it") from error
    distributions = importlib.metadata.packages_distributions().get(name, [])
    version = importlib.metadata.version(distributions[0]) if distributions else getattr(module, "__version__", "")
    return Package(name, str(version), _digest_of_sources(module))


def _refuse_other_package(name: str, packages: Any) -> None:
    kept = packages.get(name) if isinstance(packages, Mapping) else None
    if not isinstance(kept, Mapping):
        raise NotTrusted(f"it does not say which {name} it was trained with; ask for the folder as it was written")
    here = _state(describe_package(name))
    if kept.get("version") != here["version"]:
        raise NotTrusted(
            f"it was trained with {name} {_shown(kept.get('version'))} and here is {_shown(here['version'])}; "
            f"install {name} {_shown(kept.get('version'))}"
        )
    if kept.get("digest") != here["digest"]:
        raise NotTrusted(
            f"the source files of {name} {_shown(here['version'])} here are not those that it was trained with; "
            "install the package as it was then"
        )


def _shown(version: Any) -> str:
    return str(version)[:40] if version else "without a version"


def _state(package: Package) -> dict[str, str]:
    return {key: value for key, value in asdict(package).items() if key != "name"}


def _digest_of_sources(module: Any) -> str:
    """SHA-256 over the names and bytes of the Python files of a package, or of the one file of a module."""
    roots = [Path(place) for place in getattr(module, "__path__", [])]
    files = [(path.relative_to(root).as_posix(), path) for root in roots for path in root.rglob("*.py")]
    if not roots and getattr(module, "__file__", None):
        files = [(Path(module.__file__).name, Path(module.__file__))]
    digest = hashlib.sha256()
    for name, path in sorted(files):
        content = path.read_bytes()
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
