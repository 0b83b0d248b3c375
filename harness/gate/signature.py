"""Who handed a submission in: signatures of OpenSSH (`ssh-keygen -Y`) over its digest, with keys that people have.

A signature says that the holder of a key stands for these files, not that they are true.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from harness.errors import UserError

SIGNATURE = "submission.sig"  # beside the files of a submission
NAMESPACE = "hwlottery"  # so that a signature for another purpose is none for this
MOST_BYTES = 1 << 16
_WAIT_S = 60.0


def message(digest: str) -> bytes:
    """What is signed: one line that names the digest of the submission."""
    return f"hwlottery submission {digest}\n".encode()


def sign(digest: str, key: Path) -> bytes:
    """The signature by the private key in the file `key`, or by an agent that has the key of that public file.

    UserError where it cannot be made. A passphrase is asked for on the terminal.
    """
    if not key.is_file():
        raise UserError(f"--sign {key} is no file; give the file of an SSH key, such as ~/.ssh/id_ed25519")
    words = [_program("--sign"), "-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(key)]
    made = subprocess.run(words, input=message(digest), capture_output=True, check=False)
    if made.returncode or not made.stdout:
        raise UserError(f"--sign {key} cannot sign ({_said(made.stderr)}); give the file of an SSH key")
    return made.stdout


def signer(digest: str, signature: bytes, allowed: Path) -> str | None:
    """Whose signature it is of those in the file `allowed` (ALLOWED SIGNERS of ssh-keygen(1)); None of nobody's."""
    program = _program("--signers")
    with tempfile.NamedTemporaryFile(suffix=".sig") as file:
        file.write(signature)
        file.flush()
        common = ["-s", file.name, "-f", str(allowed)]
        found = _run([program, "-Y", "find-principals", *common], b"")
        for principal in found.stdout.decode(errors="replace").splitlines() if found.returncode == 0 else ():
            check = [program, "-Y", "verify", "-n", NAMESPACE, "-I", principal, *common]
            if _run(check, message(digest)).returncode == 0:
                return principal
    return None


def _run(words: list[str], given: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(words, input=given, capture_output=True, check=False, timeout=_WAIT_S)


def _program(option: str) -> str:
    found = shutil.which("ssh-keygen")
    if found is None:
        raise UserError(f"{option} needs ssh-keygen, which is not here; install OpenSSH 8.1 or later")
    return found


def _said(words: bytes) -> str:
    return " ".join(words.decode(errors="replace").split()) or "it says nothing"
