"""The search index on disk: built once for a corpus, published whole, checked when opened.

A directory holds the tantivy files and `corpus.json`, which lists every file with its size and checksum: an
index that was cut short or damaged is recognised before it is used.
Published files are never changed, only replaced as a whole directory: an open index has them mapped.
"""

import os
import secrets
import shutil
import time
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path

import msgspec
import tantivy

from lightning_state.actors.errors import CorpusError
from lightning_state.actors.workflows.corpus.document import ReadDocument
from lightning_state.actors.workflows.corpus.terms import ANALYZER_NAME, analyzer, indexed

FORMAT = 6
"""Part of every cache key: raise it whenever reading, sentences, terms or fields change."""
KEEP_S = 30 * 86400.0
"""An index that nobody opened for this long is removed when another is published."""

_MANIFEST = "corpus.json"
_BODY_CHARACTERS = 20_000  # of a document that count for finding it
_WRITER_BYTES = 256 * 2**20  # large enough for one segment


class Manifest(msgspec.Struct, frozen=True):
    """What a published index says of itself."""

    documents: int
    sentences: int
    files_read: int
    files_skipped: int
    skipped_reasons: dict[str, int]
    distributions: tuple[str, ...]
    files: dict[str, tuple[int, int]] = {}  # name → (size in bytes, CRC-32)


def schema() -> tantivy.Schema:
    """Entries of two kinds: a document has title and body, a sentence has sentence, context and parent."""
    builder = tantivy.SchemaBuilder()
    for name in ("title", "body", "sentence", "context"):
        builder.add_text_field(name, stored=False, tokenizer_name=ANALYZER_NAME, index_option="freq")
    builder.add_unsigned_field("document", indexed=True, fast=True)  # the number of a document entry
    builder.add_unsigned_field("parent", indexed=True, fast=True)  # the number of a sentence's document
    builder.add_bytes_field("stored", stored=True)
    return builder.build()


class StoredDocument(msgspec.Struct, frozen=True, array_like=True):
    """What a document entry gives back."""

    number: int
    body: str


class StoredSentence(msgspec.Struct, frozen=True, array_like=True):
    """What a sentence entry gives back."""

    order: int  # place among all sentences, which settles ties
    number: int  # of the document
    text: str
    heading: str
    title: str
    distribution: str
    version: str
    module: str
    path: str
    document_line: int
    line: int


def default_cache_dir() -> Path:
    """`$XDG_CACHE_HOME/lightning-state`, or `~/.cache/lightning-state`."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if home.startswith("/") else Path.home() / ".cache") / "lightning-state"


def cache_key(fingerprint: Iterable[str]) -> str:
    """One name for one corpus in one format."""
    digest = blake2b(f"{FORMAT} {version('tantivy')}".encode(), digest_size=16)
    for line in fingerprint:
        digest.update(b"\0" + line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def write(documents: Iterable[ReadDocument], directory: Path) -> tuple[int, int]:
    """Write the tantivy files; returns how many documents and sentences.

    One thread, so that equal documents give an equal index.
    """
    fields = schema()  # given with each document too: else an int becomes a signed one, which is refused
    index = tantivy.Index(fields, path=str(directory))
    index.register_tokenizer(ANALYZER_NAME, analyzer())
    writer = index.writer(heap_size=_WRITER_BYTES, num_threads=1)
    number = order = 0
    encode = msgspec.msgpack.encode
    for number, read in enumerate(documents, 1):
        document, source = read.document, read.document.source
        context = f"{source.distribution} {source.module} {document.title}"
        body = document.text[:_BODY_CHARACTERS]
        writer.add_document(
            tantivy.Document.from_dict(
                {
                    "title": indexed(context),
                    "body": indexed(body),
                    "document": number,
                    "stored": encode(StoredDocument(number, body)),
                },
                fields,
            )
        )
        for sentence in read.sentences:
            order += 1
            stored = StoredSentence(
                *(order, number, sentence.text, sentence.heading, document.title),
                *(
                    source.distribution,
                    source.version,
                    source.module,
                    source.path,
                    source.line,
                    sentence.line,
                ),
            )
            writer.add_document(
                tantivy.Document.from_dict(
                    {
                        "sentence": indexed(sentence.text),
                        "context": indexed(f"{context} {sentence.heading}"),
                        "parent": number,
                        "stored": encode(stored),
                    },
                    fields,
                )
            )
    writer.commit()
    writer.wait_merging_threads()
    return number, order


def publish(target: Path, fill: Callable[[Path], Manifest]) -> None:
    """Make `target` an index, whole or not at all. Two processes may do so at once: the first one's stays.

    Raises CorpusError when the cache directory cannot be written.
    """
    building = target.parent / f".building-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        building.mkdir(parents=True)
        try:
            manifest = fill(building)
            files = {path.name: _checksum(path) for path in sorted(building.iterdir())}
            (building / _MANIFEST).write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, files=files)))
            if manifest_of(target) is None:
                _discard(target)
                with suppress(FileExistsError, NotADirectoryError):
                    building.rename(target)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    except OSError as error:
        if manifest_of(target) is None:  # else another process published meanwhile
            raise CorpusError(
                f"cannot write the corpus index to {target.parent}: {error.strerror or error}; "
                "make it writable, or name another directory with cache_dir or XDG_CACHE_HOME"
            ) from error
    _sweep(target)


def _discard(target: Path) -> None:
    """Move a damaged index out of the way first: a rename is whole, a removal is not."""
    if target.exists():
        aside = target.parent / f".building-damaged-{secrets.token_hex(4)}"
        target.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _sweep(target: Path) -> None:
    """Remove what nobody opened for a month; what cannot be removed stays."""
    with suppress(OSError):
        for path in target.parent.iterdir():
            if path != target and path.stat().st_mtime < time.time() - KEEP_S:
                shutil.rmtree(path, ignore_errors=True)


def _checksum(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    return len(data), zlib.crc32(data)


def manifest_of(directory: Path) -> Manifest | None:
    """The manifest of a whole, undamaged index; None when there is none here."""
    try:
        manifest = msgspec.json.decode((directory / _MANIFEST).read_bytes(), type=Manifest)
        whole = all(_checksum(directory / name) == expected for name, expected in manifest.files.items())
    except (OSError, msgspec.DecodeError):
        return None
    return manifest if whole and manifest.files else None


def load(directory: Path) -> tantivy.Index:
    """Open a published index for reading."""
    index = tantivy.Index.open(str(directory))
    index.register_tokenizer(ANALYZER_NAME, analyzer())
    with suppress(OSError):
        os.utime(directory)  # in use: keeps it from being swept
    return index
