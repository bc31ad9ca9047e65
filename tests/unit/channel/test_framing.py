"""Records: whatever way a stream is cut the same ones come out, and no bytes do more than end it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_state.actors.errors import ProtocolError
from lightning_state.actors.wire.framing import Kind, Record, RecordParser, pack

kinds = st.sampled_from(list(Kind))
records = st.lists(st.tuples(kinds, st.integers(0, 2**32 - 1), st.binary(max_size=200)), max_size=8)


@given(records=records, data=st.data())
def test_records_come_out_as_they_went_in_however_the_stream_is_cut(records: list[Record], data: st.DataObject) -> None:
    stream = b"".join(pack(*record) for record in records)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    parser = RecordParser(200)
    found: list[Record] = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found.extend(parser.feed(stream[begin:end]))
    assert found == records


@given(chunks=st.lists(st.binary(max_size=300), max_size=10))
def test_any_bytes_are_records_within_the_limit_or_a_protocol_error(chunks: list[bytes]) -> None:
    parser = RecordParser(64)
    fed = 0
    try:
        for chunk in chunks:
            fed += len(chunk)
            assert all(len(payload) <= 64 for _, _, payload in parser.feed(chunk))
            assert len(parser._buffer) <= 64 + 9
    except ProtocolError:
        assert not parser._buffer


def test_a_long_record_is_refused_by_its_header_before_anything_is_buffered() -> None:
    parser = RecordParser(100)
    header = pack(Kind.REQUEST, 1, b"x" * 101)[:9]
    with pytest.raises(ProtocolError):
        parser.feed(header)
    assert not parser._buffer
