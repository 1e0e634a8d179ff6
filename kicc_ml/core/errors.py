"""Errors whose message is written for the user: it names the file, tag or cell, and what to do about it."""

import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType


class UserError(Exception):
    """Something a user can mend. The message names file, tag or cell and the remedy; printed without traceback."""


class NothingToLearn(UserError):
    """The cohort has none of the labels a task needs; where several tasks are asked for, the others go on."""


class TargetError(UserError):
    """The place that is written to fails: full disk, no permission, not a folder. It ends a run of many cases.

    A source file is never blamed for it, since each further case would fail in the same way.
    """


#: What the operating system says of a target that cannot be written to, whatever is written.
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
    """The error for a file or folder that could not be written, in the words of the operating system."""
    codes = [one.errno for one in iterate_causes(error) if isinstance(one, OSError) and one.errno]
    said = os.strerror(codes[0]) if codes else error
    return TargetError(f"{target} cannot be written: {said}; make room or choose another folder")


def is_full(error: BaseException) -> bool:
    """Whether an error, or one that it was made from, says that a disk is full or for reading only.

    Only the number of the operating system counts. Libraries quote names and texts of the files that they read, and a
    file may hold any words.
    """
    return any(isinstance(one, OSError) and one.errno in FULL_ERRNOS for one in iterate_causes(error))


def iterate_causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those behind it: libraries such as pydicom raise their own in place of the system's."""
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__ or one.__context__


def find_target_error(error: BaseException, target: Path) -> TargetError | None:
    """The fault of the place that is written to, behind an error of many possible kinds.

    Args:
        error: what was raised while something was read and ``target`` was written.
        target: the file or folder that was written.

    Returns:
        None where the error is one of what was read, or of the program.
    """
    if isinstance(error, TargetError):
        return error
    if is_full(error) or any(_is_about_target(one, target) for one in iterate_causes(error)):
        return make_target_error(target, error)
    return None


def _is_about_target(error: BaseException, target: Path) -> bool:
    if not isinstance(error, OSError) or error.filename is None or error.errno not in TARGET_ERRNOS:
        return False
    return Path(os.fsdecode(error.filename)).is_relative_to(target)


def describe_error(error: Exception, names: Mapping[Path, str] = MappingProxyType({})) -> str:
    """Why a case is set aside: a user's error in its own words, any other with its kind.

    Args:
        error: what was raised.
        names: how the files of the case are called in it (:mod:`kicc_ml.dicom.series.shown_files`): reasons are written
            down and sent, and folders and files may be called after patients.
    """
    reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    for path in sorted(names, key=lambda path: len(str(path)), reverse=True):  # one path may begin another
        reason = reason.replace(str(path), names[path]).replace(repr(str(path))[1:-1], names[path])
    return reason
