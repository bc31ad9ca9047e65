"""What a corpus is made of: documents, the sentences in them, and where each comes from.

Immutable and serialisable by msgspec: the processes that read files hand these over.
"""

import zlib
from urllib.parse import quote

import msgspec

TITLE_SEPARATOR = " > "
"""Between the headings in the title of a section."""


class Source(msgspec.Struct, frozen=True, order=True):
    """Where a text stands. `str(source)` is a stable URI, fit for `FactState.source`.

    An installed text is `pypi://ray@2.60.0/ray.actor#L123`, a file is `file:///home/me/notes.md#L10`; lines
    count from 1.
    """

    distribution: str  # the distribution's name as its metadata spells it; "" for a file of a folder corpus
    version: str  # of the distribution; "" for a file
    module: str  # dotted module name; "README" for a distribution's long description; "" for a file
    path: str  # absolute path of the file that was read
    line: int

    @property
    def uri(self) -> str:
        """The stable form; equal for two readings of the same installed version on any machine."""
        if self.distribution:
            return f"pypi://{quote(self.distribution)}@{quote(self.version)}/{quote(self.module)}#L{self.line}"
        return f"file://{quote(self.path)}#L{self.line}"

    @property
    def label(self) -> str:
        """The form for people: `ray 2.60.0, ray.actor, line 123`."""
        if self.distribution:
            return f"{self.distribution} {self.version}, {self.module}, line {self.line}"
        return f"{self.path}, line {self.line}"

    def at(self, line: int) -> "Source":
        """The same text at another line."""
        return msgspec.structs.replace(self, line=line)

    def __str__(self) -> str:
        return self.uri


def document_id(source: Source) -> str:
    """The id of the document that begins here: unique in a corpus and equal in every build of it.

    Not the bare URI, which is also that of the sentence on the document's first line.
    """
    return f"document:{source.uri}"


class Document(msgspec.Struct, frozen=True):
    """One docstring, or one section of a README or a file."""

    id: str  # `document_id(source)`
    title: str  # the qualified name (`ActorClass.options`) or the headings down to the section
    text: str  # as it stands in the source, markup included
    source: Source


class Sentence(msgspec.Struct, frozen=True):
    """One sentence that can stand as a fact, cleaned of markup."""

    text: str
    heading: str  # the nearest heading inside the document ("Args", "Resources"); "" without one
    line: int


class ReadDocument(msgspec.Struct, frozen=True):
    """A document with the sentences found in it."""

    document: Document
    sentences: tuple[Sentence, ...]


class Passage(msgspec.Struct, frozen=True):
    """One answer of a search: a sentence, where it stands and how well it fits.

    `score` orders the answers of one query and means nothing across queries; `relevance` does: see
    `ranking.py`.
    """

    sentence: str
    title: str  # of the document: what the sentence is about when it does not say so itself
    source: Source  # of this very line
    score: float  # ≥ 0
    relevance: float  # 0 to 1
    document_id: str
    line: int

    @property
    def id(self) -> str:
        """Unique in a corpus, where several sentences may stand on one line; equal in every build of it."""
        return f"{self.source.uri}:{zlib.crc32(self.sentence.encode()):08x}"
