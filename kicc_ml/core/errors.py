"""Errors with a message for the user, which names the file, tag or cell and the remedy."""

import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType


class UserError(Exception):
    """An error that the user can correct. Its message names the file, tag or cell and the remedy.

    It is printed without a traceback.

    Attributes:
        exit_status: what a program ends with that has printed it.
        page: the page of the documentation that helps (:mod:`kicc_ml.core.help_pages`); "" for none.
    """

    exit_status = 2
    page = ""

    def __init__(self, *message: object, page: str = "") -> None:
        super().__init__(*message)
        if page:
            self.page = page


class NothingToLearn(UserError):
    """The cohort has none of the labels that a task needs. Other tasks of the same command go on."""


class TargetError(UserError):
    """The target cannot be written: full disk, no permission, not a folder.

    It ends a run over many cases, because every further case would fail in the same way. It never blames a source file.
    """


#: Error numbers of the operating system for a target that cannot be written.
TARGET_ERRNOS = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.EFBIG,
        errno.ENAMETOOLONG,
        errno.EMFILE,
        errno.EIO,
    }
)


#: What only a target says, whether or not the error names a file: it is full, or for reading only.
FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})


def make_target_error(target: Path, error: BaseException) -> TargetError:
    """Make the error for a file or folder that could not be written, with the operating system's message."""
    codes = [cause.errno for cause in iterate_causes(error) if isinstance(cause, OSError) and cause.errno]
    said = os.strerror(codes[0]) if codes else error
    return TargetError(f"{target} cannot be written: {said}; make room or choose another folder")


def is_full(error: BaseException) -> bool:
    """Whether an error, or one that it was made from, says that a disk is full or for reading only.

    Only the number of the operating system counts. Libraries quote names and texts of the files that they read, and a
    file may hold any words.
    """
    return any(isinstance(cause, OSError) and cause.errno in FULL_ERRNOS for cause in iterate_causes(error))


def iterate_causes(error: BaseException) -> Iterator[BaseException]:
    """Iterate over an error and its causes. Libraries such as pydicom replace the system's error by their own."""
    one: BaseException | None = error
    seen: list[BaseException] = []
    while one is not None and not any(one is other for other in seen):  # an error may be a cause of its own cause
        yield one
        seen.append(one)
        one = one.__cause__ or one.__context__


def find_page(error: BaseException) -> str:
    """Find the page of the documentation that an error, or one behind it, points to; "" if none does."""
    return next((one.page for one in iterate_causes(error) if isinstance(one, UserError) and one.page), "")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one that it was made from, says that memory is not enough: of Python, PyTorch or a GPU."""
    return any(
        isinstance(cause, MemoryError)
        or type(cause).__name__ == "OutOfMemoryError"  # of PyTorch, which is not imported for headers alone
        or (isinstance(cause, RuntimeError) and "DefaultCPUAllocator" in str(cause))
        for cause in iterate_causes(error)
    )


def find_target_error(error: BaseException, target: Path) -> TargetError | None:
    """Find out whether an error means that the target could not be written.

    Args:
        error: the error that was raised while something was read and ``target`` was written.
        target: the file or folder that was written.

    Returns:
        the error of the target; None if the error comes from what was read, or from the program.
    """
    if isinstance(error, TargetError):
        return error
    if is_full(error) or any(_is_about_target(cause, target) for cause in iterate_causes(error)):
        return make_target_error(target, error)
    return None


def _is_about_target(error: BaseException, target: Path) -> bool:
    if not isinstance(error, OSError) or error.filename is None or error.errno not in TARGET_ERRNOS:
        return False
    return Path(os.fsdecode(error.filename)).is_relative_to(target)


def describe_error(error: Exception, names: Mapping[Path, str] = MappingProxyType({})) -> str:
    """Describe why a case was set aside: the message of a user error, or the kind and message of another error.

    Args:
        error: the error that was raised.
        names: the name to show for each file of the case (:mod:`kicc_ml.dicom.series.shown_files`). Reasons are
            written to files and sent to others, while real paths may contain names of patients.

    Returns:
        the reason, in which every path is replaced by the name to show.
    """
    return _show_names(str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}", names)


def describe_without_quotes(error: Exception, names: Mapping[Path, str] = MappingProxyType({})) -> str:
    """Describe why a case was set aside, for readers who may not see what is in its files.

    Messages of libraries quote headers, names of patients among them. The kind of such an error takes the place of its
    message, also within the message of a user error that was made from it.

    Args:
        error: the error that was raised.
        names: the name to show for each file of the case.

    Returns:
        the reason.
    """
    if not isinstance(error, UserError):
        return type(error).__name__
    reason = str(error)
    for cause in iterate_causes(error):
        is_own = type(cause).__module__.startswith("kicc_ml.") or (isinstance(cause, OSError) and cause.errno)
        if not is_own and str(cause):
            reason = reason.replace(str(cause), type(cause).__name__)
    return _show_names(reason, names)


def _show_names(reason: str, names: Mapping[Path, str]) -> str:
    for path in sorted(names, key=lambda path: len(str(path)), reverse=True):  # one path may begin another
        reason = reason.replace(str(path), names[path]).replace(repr(str(path))[1:-1], names[path])
    return reason
