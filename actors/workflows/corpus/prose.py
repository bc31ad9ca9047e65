"""Markdown, reStructuredText, plain text and HTML: one document a section."""

import re
from collections.abc import Sequence

from justhtml import Element, JustHTML, Text

from lightning_state.actors.workflows.corpus.blocks import Line, heading_of
from lightning_state.actors.workflows.corpus.document import (
    TITLE_SEPARATOR,
    Document,
    ReadDocument,
    Source,
    document_id,
)
from lightning_state.actors.workflows.corpus.markup import plain
from lightning_state.actors.workflows.corpus.sentences import sentences

_LEFT_OUT = {
    *(
        "script",
        "style",
        "template",
        "noscript",
        "svg",
        "math",
        "pre",
        "code-block",
        "table",
        "nav",
        "footer",
        "form",
    ),
    *("button", "select", "textarea", "iframe", "object", "head"),
}
_BREAKING = {
    *(
        "p",
        "div",
        "section",
        "article",
        "main",
        "header",
        "aside",
        "blockquote",
        "li",
        "dd",
        "dt",
        "dl",
        "ul",
        "ol",
    ),
    *("h1", "h2", "h3", "h4", "h5", "h6", "br", "hr", "figure", "figcaption", "details", "summary", "body"),
}
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_FENCE = re.compile(r"^\s*(```|~~~)")


def decode(data: bytes) -> str:
    """UTF-8, UTF-16 with its mark, or else Latin-1, which any bytes are: no file fails for its encoding."""
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def prose_documents(data: bytes, source: Source) -> list[ReadDocument]:
    """The sections of a Markdown, reST or text file."""
    return _sections(list(enumerate(decode(data).splitlines(), 1)), source)


def metadata_documents(data: bytes, source: Source) -> list[ReadDocument]:
    """The sections of a long description: what follows the first empty line of METADATA."""
    rows = list(enumerate(decode(data).splitlines(), 1))
    body = next((index for index, (_, text) in enumerate(rows) if not text.strip()), len(rows))
    return _sections(rows[body:], source)


def html_documents(data: bytes, source: Source) -> list[ReadDocument]:
    """The sections of an HTML page, without scripts, navigation, tables and code."""
    return _sections(_html_lines(decode(data)), source)


def _sections(lines: Sequence[Line], source: Source) -> list[ReadDocument]:
    """Cut at every heading; a section's title is the path of headings down to it."""
    found: list[ReadDocument] = []
    path: list[tuple[str, str]] = []
    start, index, fenced = 0, 0, False
    while index < len(lines):
        fenced ^= bool(_FENCE.match(lines[index][1]))
        heading = None if fenced else heading_of(lines, index)
        if heading is None:
            index += 1
            continue
        found += _section(lines[start:index], path, source)
        level = _level(lines, index)
        while path and path[-1][0] >= level:
            path.pop()
        path.append((level, plain(heading[0])))
        start = index = index + heading[1]
    return found + _section(lines[start:], path, source)


def _level(lines: Sequence[Line], index: int) -> str:
    """A key that sorts headings by depth: the number of #, or the usual order of underlines."""
    text = lines[index][1].strip()
    if text.startswith("#"):
        return str(len(text) - len(text.lstrip("#")))
    sign = lines[index + 1][1].strip()[0]
    return str(1 + "=-~^".find(sign) if sign in "=-~^" else 5)


def _section(lines: Sequence[Line], path: Sequence[tuple[str, str]], source: Source) -> list[ReadDocument]:
    found = sentences(lines)
    if not found:
        return []
    here = source.at(lines[0][0])
    title = TITLE_SEPARATOR.join(title for _, title in path) or source.distribution or source.path.rsplit("/", 1)[-1]
    text = "\n".join(text for _, text in lines)
    return [ReadDocument(Document(document_id(here), title, text, here), found)]


def _html_lines(page: str) -> list[Line]:
    """The page's prose as Markdown-like lines; iterative: real pages nest deeper than Python recurses."""
    root = JustHTML(page, track_node_locations=True, sanitize=False).root
    lines: list[Line] = []
    words: list[str] = []
    line, prefix = 1, ""

    def flush() -> None:
        nonlocal prefix
        text = " ".join("".join(words).split())
        if text:
            lines.extend(((line, prefix + text), (line, "")))
            prefix = ""
        words.clear()

    stack: list[tuple[object, bool]] = [(root, False)]
    while stack:
        node, leaving = stack.pop()
        if isinstance(node, Text):
            if not "".join(words).strip() and (node.data or "").strip():
                line = (node.origin_line or line) + _leading_breaks(node.data or "")
            words.append(node.data or "")
            continue
        name = node.name if isinstance(node, Element) else ""
        if leaving or name in _LEFT_OUT:
            flush()
            continue
        if name in _BREAKING:
            flush()
            stack.append((node, True))
            prefix = _prefix(name)
        stack.extend((child, False) for child in reversed(getattr(node, "children", None) or ()))
    flush()
    return lines


def _leading_breaks(text: str) -> int:
    return text[: len(text) - len(text.lstrip())].count("\n")


def _prefix(name: str) -> str:
    if name[0] == "h" and name[1:].isdigit():
        return "#" * int(name[1:]) + " "
    return "- " if name == "li" else ""
