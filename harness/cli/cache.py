"""Where compiled programs, inputs and what runs taught are kept between runs: a folder a user and kind of processor.

Programs are compiled for the processor at hand: on a home that several machines share, one must not be given what was
compiled for another's instructions. And they are code: a folder in which others may write is none.
"""

from __future__ import annotations

import hashlib
import os
import platform
import stat
import tempfile
from pathlib import Path

from harness.errors import UserError
from harness.machine import processor

VARIABLE = "HWLOTTERY_CACHE"


def cache_folder() -> Path:
    """The folder, made if it is not there, absolute: below HWLOTTERY_CACHE, the user's cache folder, or for want of
    one the temporary folder. UserError says why there is none."""
    own = os.environ.get(VARIABLE)
    if own:
        return _made(Path(own).absolute() / _kind())
    try:
        return _made(_usual() / _kind())
    except UserError:
        return _made(temporary() / f"hwlottery-{_user()}" / _kind())  # no home, or one that cannot be written to


def temporary() -> Path:
    """The folder for temporary files; UserError where none can be written to."""
    try:
        return Path(tempfile.gettempdir()).absolute()
    except OSError:
        raise UserError("there is no folder for temporary files that can be written to; set TMPDIR to one") from None


def _usual() -> Path:
    import platformdirs

    folder = platformdirs.user_cache_path("hwlottery") / "compiled"
    if not folder.is_absolute():  # a user who is in no list of users, without HOME, has "~" for a home
        raise UserError(f"there is no home folder; set HOME or {VARIABLE}")
    return folder


def _kind() -> str:
    """Short and plain: what programs are compiled for."""
    said = f"{processor.identity() or processor.name()}"
    return f"{platform.machine() or 'machine'}-{hashlib.sha256(said.encode(errors='replace')).hexdigest()[:8]}"


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else "user"


def _made(folder: Path) -> Path:
    """The folder, there and fit; the last two parts of it are the user's alone where they are made here."""
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        shown = ascii(str(folder))
        raise UserError(
            f"the compile cache {shown} is no text in UTF-8, as frameworks want it; set {VARIABLE}"
        ) from None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True, mode=0o700)
        about = folder.stat()
    except OSError as error:
        raise UserError(f"the compile cache {folder} cannot be made ({error.strerror}); set {VARIABLE}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"the compile cache {folder} cannot be written to; set {VARIABLE} to a folder that can")
    stranger = hasattr(os, "getuid") and about.st_uid not in (os.getuid(), 0)
    if stranger or about.st_mode & stat.S_IWOTH:
        why = "belongs to another user" if stranger else "can be written to by every user"
        raise UserError(
            f"the compile cache {folder} {why}, who could put programs there that you would run; set {VARIABLE} to a "
            "folder of your own"
        )
    return folder
