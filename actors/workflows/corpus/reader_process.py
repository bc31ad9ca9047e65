"""The child process that reads files: tasks come in on standard input, results go out on standard output.

A message is its length in 8 bytes, big-endian, and that many bytes of MessagePack.
"""

import gc
import os
import sys
from typing import BinaryIO

import msgspec

from lightning_state.actors.workflows.corpus.reading import ReadTask, read_all

_LENGTH_BYTES = 8


def send(stream: BinaryIO, message: bytes) -> None:
    """Write one message and flush it."""
    stream.write(len(message).to_bytes(_LENGTH_BYTES, "big") + message)
    stream.flush()


def receive(stream: BinaryIO) -> bytes | None:
    """The next message; None when the other side closed the stream or died within a message."""
    head = stream.read(_LENGTH_BYTES)
    if len(head) < _LENGTH_BYTES:
        return None
    size_bytes = int.from_bytes(head, "big")
    message = stream.read(size_bytes)
    return message if len(message) == size_bytes else None


def main() -> None:
    """Serve until standard input is closed, which it also is when the parent dies."""
    gc.disable()  # syntax trees hold no cycles, and looking for some takes a quarter of the time
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints must not mix with the results
    decoder = msgspec.msgpack.Decoder(list[ReadTask])
    while (message := receive(sys.stdin.buffer)) is not None:
        send(output, msgspec.msgpack.encode(read_all(decoder.decode(message))))
