"""VERL's frames: damage is an error with a code, whatever it looks like."""

from __future__ import annotations

import pytest

from lightning_state.actors.errors import ProtocolError
from lightning_state.actors.wire.verl_codec import (
    decode_from_pool,
    decode_from_validator,
    decode_to_pool,
    decode_to_validator,
)

NO_UTF8 = b"\x94\xa4\xff\xff\xff\xff\x01\x02\x03"


@pytest.mark.parametrize("data", [b"", b"noise", NO_UTF8, b"\x91" * 100_000])
@pytest.mark.parametrize("decode", [decode_from_pool, decode_from_validator, decode_to_pool, decode_to_validator])
def test_bytes_that_are_no_frame_are_a_protocol_error(decode: object, data: bytes) -> None:
    assert callable(decode)
    with pytest.raises(ProtocolError, match="not a VERL frame"):
        decode(data)
