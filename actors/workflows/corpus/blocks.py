"""Numbered lines of a docstring, README or file as blocks of prose: code, tables and directives are left out.

One reader for docstrings (Google, NumPy and reST styles), Markdown and plain text: their signs do not
collide enough to need a parser each, and real docstrings mix them.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

Line: TypeAlias = tuple[int, str]
"""Line number in the file, and the line without its line break."""

_FENCE = re.compile(r"^\s*(```+|~~~+)")
_PROMPT = re.compile(r"^\s*(>>>|\.\.\. |In \[\d+\]:|\$ )")
_DIRECTIVE = re.compile(r"^(\s*)\.\.\s+(?:([\w:-]+)::|_|\[|\|)?\s*(.*)$")
_PROSE_DIRECTIVES = {
    "note",
    "warning",
    "tip",
    "important",
    "caution",
    "hint",
    "attention",
    "danger",
    "seealso",
}
_ATX = re.compile(r"^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
_UNDERLINE = re.compile(r"^\s*([=\-~^\"'+*#`])\1{2,}\s*$")
_TABLE = re.compile(r"^\s*(\|.*\||\+[-=+]+\+|=+(\s+=+)+|-+(\s+-+)+)\s*$")
_ITEM = re.compile(r"^(\s*)(?:[-*+•]|\(?\d{1,2}[.)]|#\.)\s+(\S.*)$")
_SECTION = re.compile(
    r"^\s*(Args|Arguments|Parameters|Params|Keyword Args|Keyword Arguments|Returns?|Yields?|"
    r"Raises|Attributes|Notes?|"
    r"Examples?|Warnings?|Warns|See Also|References|Usage|Tip|Important|Todo)\s*:?\s*$"
)
_ENTRY = re.compile(r"^(\s*)(\*{0,2}`{0,2}[A-Za-z_][\w.]*`{0,2})\s*(?:\([^)]*\)|<[^>]*>)?\s*:\s+(\S.*)$")
_LONE_ENTRY = re.compile(r"^(\s*)(\*{0,2}[A-Za-z_][\w.]*)\s*(?:\([^)]*\))?\s*:\s*$")
_NUMPY_ENTRY = re.compile(r"^(\s*)([A-Za-z_*][\w*, .]*?) : \S.*$")
_FIELD = re.compile(
    r"^(\s*):(?:param|parameter|arg|argument|key|keyword|ivar|cvar|var|raises?|except)\s+"
    r"(?:[\w.\[\], |]+\s+)?(\*{0,2}[\w.]+):(?:\s+(.*))?$"
)
_BARE_FIELD = re.compile(r"^(\s*):(?:returns?|yields?|meta \w+):(?:\s+(.*))?$")
_OTHER_FIELD = re.compile(r"^\s*:[a-zA-Z][\w \[\].,|-]*:(?:\s|$)")  # :type x:, :copyright:, :license: …
_ENTRY_SECTIONS = {
    "Args",
    "Arguments",
    "Parameters",
    "Params",
    "Keyword Args",
    "Keyword Arguments",
    "Raises",
} | {
    "Attributes",
    "Warns",
}
_SKIPPED_SECTIONS = {"References", "Todo", "See Also"}


@dataclass
class Block:
    """Consecutive lines that read as one: a paragraph, a list item or an entry of an argument list."""

    heading: str
    name: str = ""  # of the argument, attribute or field the block describes
    lines: list[Line] = field(default_factory=list[Line])


def dedent(lines: Sequence[Line]) -> list[Line]:
    """Without the common indentation; a docstring's first line, which has none, does not count."""
    widths = [len(text) - len(text.lstrip()) for _, text in lines[1:] if text.strip()]
    margin = min(widths, default=0)
    return [
        (number, text.expandtabs(4)[margin:] if index else text.strip()) for index, (number, text) in enumerate(lines)
    ]


def heading_of(lines: Sequence[Line], index: int) -> tuple[str, int] | None:
    """The heading that begins at this line and the number of lines it takes (`# X`, or X underlined)."""
    text = lines[index][1]
    if match := _ATX.match(text):
        return match[2], 1
    following = lines[index + 1][1] if index + 1 < len(lines) else ""
    title = text.strip()
    underlined = bool(_UNDERLINE.match(following)) and len(following.strip()) >= min(len(title), 4)
    if title and underlined and len(title) <= 100 and not _UNDERLINE.match(text) and not _TABLE.match(text):  # noqa: PLR2004 - longer is a paragraph over a rule
        return title, 2
    return None


class _Reader:
    """One pass over the lines: the blocks found so far, the one being added to, and where they stand."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = lines
        self.blocks: list[Block] = []
        self.open: Block | None = None
        self.heading = ""
        self.name = ""
        self.name_indent = -1

    def close(self) -> None:
        self.open = None

    def start(self, number: int, text: str, name: str = "") -> None:
        self.open = Block(self.heading, name, [(number, text)] if text else [])
        self.blocks.append(self.open)

    def indented_end(self, index: int, indent: int) -> int:
        """The first line from `index` on that is not blank and not indented more than `indent`."""
        while index < len(self.lines):
            text = self.lines[index][1]
            if text.strip() and _indent(text) <= indent:
                break
            index += 1
        return index

    def fence_end(self, index: int) -> int:
        fence = _FENCE.match(self.lines[index][1])
        sign = fence[1][:3] if fence else "```"
        index += 1
        while index < len(self.lines) and not self.lines[index][1].lstrip().startswith(sign):
            index += 1
        return index + 1

    def paragraph_end(self, index: int) -> int:
        while index < len(self.lines) and self.lines[index][1].strip():
            index += 1
        return index

    def left_out(self, index: int) -> int | None:
        """The line after code, a table, a directive or a comment that begins here; None when nothing does."""
        text = self.lines[index][1]
        if _FENCE.match(text):
            return self.fence_end(index)
        if _PROMPT.match(text):
            return self.paragraph_end(index)
        if _OTHER_FIELD.match(text) and not (_FIELD.match(text) or _BARE_FIELD.match(text)):
            return self.indented_end(index + 1, _indent(text))
        if _TABLE.match(text) or _UNDERLINE.match(text):
            return index + 1
        directive = _DIRECTIVE.match(text)
        if directive is None:
            return None
        if directive[2] in _PROSE_DIRECTIVES:
            if directive[3]:
                self.start(self.lines[index][0], directive[3])
            return index + 1
        return self.indented_end(index + 1, len(directive[1]))

    def structure(self, index: int) -> int | None:
        """The line after a heading or a section title that begins here."""
        found = heading_of(self.lines, index)
        section = _SECTION.match(self.lines[index][1])
        if found is None and section is None:
            return None
        self.close()
        self.name = ""
        self.heading = section[1] if section else (found or ("", 1))[0]
        after = index + (found[1] if found else 1)
        if self.heading in _SKIPPED_SECTIONS:
            return self.indented_end(after, _indent(self.lines[index][1])) if not found else after
        return after

    def entry(self, number: int, text: str) -> bool:
        """A new list item or entry of an argument list begins on this line."""
        in_entries = self.heading in _ENTRY_SECTIONS
        if match := _FIELD.match(text):
            self.named(match[2], len(match[1]))
            self.start(number, match[3] or "", match[2])
        elif match := _BARE_FIELD.match(text):
            self.named("", len(match[1]))
            self.start(number, match[2] or "")
        elif in_entries and (match := _LONE_ENTRY.match(text) or _NUMPY_ENTRY.match(text)):
            self.named(match[2], len(match[1]))
            self.start(number, "", match[2])
        elif in_entries and (match := _ENTRY.match(text)) and len(match[1]) <= max(self.name_indent, 4):
            self.named(match[2].strip("`"), len(match[1]))
            self.start(number, match[3], self.name)
        elif match := _ITEM.match(text):
            self.item(number, len(match[1]), match[2])
        else:
            return False
        return True

    def item(self, number: int, indent: int, text: str) -> None:
        """A list item; one that says `name: text` describes that name, inside an entry or not."""
        inner = _ENTRY.match(text)
        if inner and ("_" in inner[2] or "`" in inner[2] or indent > self.name_indent >= 0):
            self.named(inner[2].strip("`*"), indent)
            self.start(number, inner[3], self.name)
        else:
            self.start(number, text, self.name if indent > self.name_indent else "")

    def named(self, name: str, indent: int) -> None:
        self.name, self.name_indent = name, indent

    def read(self) -> list[Block]:
        index = 0
        while index < len(self.lines):
            number, text = self.lines[index]
            if not text.strip():
                self.close()
                index += 1
                continue
            after = self.structure(index)
            if after is None:
                after = self.left_out(index)
                if after is not None and not (self.open and self.open.lines and self.open.lines[0][0] == number):
                    self.close()
            if after is not None:
                index = after
                continue
            if not self.entry(number, text):
                self.prose(number, text)
            index += 1
            if text.rstrip().endswith("::") and not text.lstrip().startswith(":"):
                self.close()
                index = self.indented_end(index, _indent(text))
        return [block for block in self.blocks if block.lines]

    def prose(self, number: int, text: str) -> None:
        if self.name and _indent(text) <= self.name_indent:
            self.name = ""
        if self.open is None:
            self.start(number, text.strip(), self.name)
        else:
            self.open.lines.append((number, text.strip()))


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip())


def blocks(lines: Iterable[Line]) -> list[Block]:
    """The prose of these lines, in order."""
    return _Reader(list(lines)).read()
