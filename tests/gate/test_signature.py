"""Signatures over a digest: whose they are, and every way in which one is nobody's."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from harness.errors import UserError
from harness.gate import signature
from harness.gate.signature import sign, signer

DIGEST = "ab" * 32

needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen (OpenSSH) is not installed")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Two people's keys, and the file that allows the first of them."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ann", "ben"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
        subprocess.run(words, check=True)
    (folder / "allowed").write_text(f'ann@example.org namespaces="hwlottery" {(folder / "ann.pub").read_text()}')
    (folder / "both").write_text("".join(f"{n} {(folder / f'{n}.pub').read_text()}" for n in ("ann", "ben")))
    return folder


@needs_ssh
def test_a_signature_is_of_whom_the_file_names(keys):
    made = sign(DIGEST, keys / "ann")
    assert made.startswith(b"-----BEGIN SSH SIGNATURE-----")
    assert signer(DIGEST, made, keys / "allowed") == "ann@example.org"
    assert signer(DIGEST, sign(DIGEST, keys / "ben"), keys / "both") == "ben"


@needs_ssh
@pytest.mark.fault("a signature of another digest, key or purpose, or none at all", "signature")
def test_a_signature_of_another_is_nobodys(keys, monkeypatch):
    made = sign(DIGEST, keys / "ann")
    assert signer("cd" * 32, made, keys / "allowed") is None, "of another digest"
    assert signer(DIGEST, sign(DIGEST, keys / "ben"), keys / "allowed") is None, "of a key that is not allowed"
    assert signer(DIGEST, b"no signature", keys / "allowed") is None
    assert signer(DIGEST, b"", keys / "allowed") is None
    assert signer(DIGEST, made[:-40] + b"\n-----END SSH SIGNATURE-----\n", keys / "allowed") is None
    monkeypatch.setattr(signature, "NAMESPACE", "git")
    other = sign(DIGEST, keys / "ann")
    monkeypatch.setattr(signature, "NAMESPACE", "hwlottery")
    assert signer(DIGEST, other, keys / "both") is None, "for another purpose"


@needs_ssh
def test_a_file_that_is_no_key_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="is no file; give the file of an SSH key"):
        sign(DIGEST, tmp_path / "none")
    (tmp_path / "key").write_text("no key")
    with pytest.raises(UserError, match="cannot sign"):
        sign(DIGEST, tmp_path / "key")


def test_a_machine_without_ssh_keygen_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    (tmp_path / "key").write_text("")
    with pytest.raises(UserError, match="--sign needs ssh-keygen"):
        sign(DIGEST, tmp_path / "key")
    with pytest.raises(UserError, match="--signers needs ssh-keygen"):
        signer(DIGEST, b"", tmp_path / "key")
