"""Inline markup of Markdown, reStructuredText and docstrings, removed so that a sentence reads as prose."""

import html
import re

_REPLACEMENTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\[?!\[[^\]]*\](?:\([^)]*\)|\[[^\]]*\])(?:\]\([^)]*\))?"), ""),  # images and badges
    (re.compile(r"<!--.*?-->"), ""),
    (re.compile(r"<(https?://[^>\s]+)>"), r"\1"),  # <https://…>
    (re.compile(r"</?[A-Za-z][A-Za-z0-9]*(?:\s[^<>]*)?/?>"), ""),  # HTML tags inside Markdown
    (re.compile(r":[a-zA-Z][\w:+.-]*:`!?([^`<]+?)\s*<[^`>]*>`"), r"\1"),  # :ref:`text <target>`
    (re.compile(r":[a-zA-Z][\w:+.-]*:`~(?:[\w]+\.)*(\w[^`]*)`"), r"\1"),  # :class:`~package.Name`
    (re.compile(r":[a-zA-Z][\w:+.-]*:`!?\.?([^`]+)`"), r"\1"),  # :class:`Name`
    (re.compile(r"`([^`<]+?)\s*<[^`>]+>`__?"), r"\1"),  # `text <target>`_
    (re.compile(r"!?\[([^\]]+)\]\((?:[^()\s]|\([^)]*\))*(?:\s+\"[^\"]*\")?\)"), r"\1"),  # [text](target)
    (re.compile(r"\[([^\]]+)\]\[[^\]]*\]"), r"\1"),  # [text][reference]
    (re.compile(r"``([^`]+)``"), r"\1"),
    (re.compile(r"`([^`]+)`_?_?"), r"\1"),
    (re.compile(r"\*\*([^*]+)\*\*"), r"\1"),
    (re.compile(r"(?<![\w*])\*([^*\s][^*]*)\*(?![\w*])"), r"\1"),
    (re.compile(r"\|(\w[\w .@-]*\w)\|"), r"\1"),  # reST substitutions
    (re.compile(r"\s*\[#?[\w-]+\]_"), ""),  # reST footnotes
    (re.compile(r"\\([*_`|<>])"), r"\1"),
)
_MARKED = re.compile(r"[`*<\[|\\&]")


def plain(text: str) -> str:
    """The text without inline markup, its white space single spaces; the words themselves are unchanged."""
    if _MARKED.search(text):
        for pattern, replacement in _REPLACEMENTS:
            text = pattern.sub(replacement, text)
        text = html.unescape(text)
    return " ".join(text.split())
