"""Log lines as key=value fields, for people and for machines."""

from __future__ import annotations

import json
import logging
import re
import sys

_PLAIN = re.compile(r"[A-Za-z0-9._:@/+-]+")
_ROOT = "lightning_state"


def line(event: str, **fields: str | int) -> str:
    """`event key=value …`. A value with other characters than a key may have is quoted as JSON."""
    return " ".join([event, *(f"{name}={_shown(str(value))}" for name, value in fields.items())])


def configure(level: str) -> None:
    """Write this project's log lines of a level and above to stderr: in an actor's process, nothing else does."""
    logger = logging.getLogger(_ROOT)
    logger.setLevel(level)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("time=%(asctime)s level=%(levelname)s %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False


def _shown(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else json.dumps(value)
