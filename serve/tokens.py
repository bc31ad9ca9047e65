"""The bearer token of a service's HTTP side: made at first start, kept in the data directory for its owner alone."""

from __future__ import annotations

import os
import secrets
from hashlib import sha256
from pathlib import Path

from lightning_state.actors.errors import DataDirectoryError

FILE = "http-token"

_SHORTEST = 16


def read_or_make_token(data_dir: Path) -> str:
    """The token of the service whose data are here; made, with mode 0600, when there is none yet.

    Raises DataDirectoryError when it cannot be read or written, or is too short to be a secret.
    """
    file = data_dir / FILE
    try:
        if not file.exists():
            _write(file, secrets.token_urlsafe(32))
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataDirectoryError(f"the HTTP token in {file} cannot be used ({error}): check its permissions") from error
    if len(token) < _SHORTEST or not token.isascii() or any(letter.isspace() for letter in token):
        raise DataDirectoryError(
            f"{file} must hold a token of {_SHORTEST} or more ASCII characters: remove the file to get a new one"
        )
    return token


def digest_of(token: str) -> bytes:
    """What replicas are given: enough to recognise the token, and useless to whoever reads it somewhere."""
    return sha256(token.encode()).digest()


def _write(file: Path, token: str) -> None:
    """All or nothing: of two starts at once one wins, and both read what it wrote."""
    partial = file.with_name(f"{FILE}.{secrets.token_hex(8)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, token.encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(partial, file)
    except FileExistsError:
        pass
    finally:
        partial.unlink()
