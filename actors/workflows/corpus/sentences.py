"""From lines of text to sentences that can stand as facts, each with its line number."""

import bisect
import re
from collections.abc import Sequence
from functools import cache

from nupunkt import PunktSentenceTokenizer, load_default_model

from lightning_state.actors.workflows.corpus.blocks import Block, Line, blocks
from lightning_state.actors.workflows.corpus.document import Sentence
from lightning_state.actors.workflows.corpus.markup import plain

MIN_WORDS, MAX_WORDS = 5, 80
MIN_ENTRY_WORDS = 3  # after the name of an argument
FULL_WORDS = 7  # from which a sentence from capital to full stop is taken at its word
MIN_CHARACTERS = 24
MIN_LETTER_SHARE = 0.72  # of the characters that are not blank: below it a line is code, a table or a rule

_WORD = re.compile(r"[A-Za-z][A-Za-z'\u2019-]*")
_FINITE = re.compile(
    r"\b(?:is|are|was|were|be|been|being|am|has|have|had|do|does|did|can|could|will|would|shall|should|"
    r"may|might|must|cannot|can't|won't|doesn't|isn't|aren't|don't|[a-z]{2,}(?:es|ed|ing)|[a-z]{3,}[^su\W]s)\b"
)
_IMPERATIVE_VERBS = """
Accept Add Allow Append Apply Attach Block Build Call Cancel Check Clean Clear Close Collect Compute
Configure Connect Construct Convert Copy Count Create Decide Decode Define Delete Deploy Determine
Disable Emit Enable Encode Ensure Evaluate Execute Expose Extract Fetch Filter Find Finish Flush
Force Format Generate Get Give Handle Indicate Initialize Insert Install Invoke Iterate Kill Launch
Limit List Load Log Look Make Mark Match Merge Move Notify Open Parse Perform Prevent Print Process
Provide Put Raise Read Receive Record Register Release Remove Render Replace Represent Request Reset
Resolve Restart Retrieve Retry Return Run Save Schedule Send Serialize Set Shut Signal Sort Specify
Spill Split Start Stop Store Submit Take Test Transform Try Turn Unregister Update Use Validate
Verify Wait Wrap Write Yield
"""
_IMPERATIVE = re.compile(rf"^(?:{'|'.join(_IMPERATIVE_VERBS.split())})\b")
_REFUSED_START = re.compile(
    r"(?:---|===|TODO|FIXME|XXX|HACK|NOTE\(|DEPRECATED|:orphan:|%|\$|@|>>>)"  # remarks and signs
    r"|(?:from \w+ import|import \w+|def |class \w+[(:])"  # code
    r"|\W*\w+\([^)]*\)\W*$"
    r"|See (?:also|the|http)\b|For (?:more|further) (?:information|details)"
    r"|(?:Please )?(?:refer to|see) \S+|Example|Usage",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"\b(?:copyright|licen[cs]ed under|all rights reserved|without warranty|apache license|mit license"
    r"|redistribut\w+|public ?api \(|spdx|pip install|todo)\b"
)
_ASSIGNMENT = re.compile(r"\w\s?= ?[\w\[{(\"']\S*$")
_DANGLING = re.compile(r"(?:[:,;(]|\b(?:and|or|the|a|of|to|e\.g\.|i\.e\.))$")


@cache
def _tokenizer() -> PunktSentenceTokenizer:
    return load_default_model()


def is_fact(text: str, *, named: bool = False) -> bool:
    """Whether someone reading this alone would call it a statement: words, a verb, no code, no notice.

    `named`: the text describes an argument or field whose name goes before it, so that it needs no verb of
    its own.
    """
    words = _WORD.findall(text)
    if not (MIN_ENTRY_WORDS if named else MIN_WORDS) <= len(words) <= MAX_WORDS or len(text) < MIN_CHARACTERS:
        return False
    if text.endswith("?") or _DANGLING.search(text[-6:]) or _REFUSED_START.match(text):
        return False
    if _REFUSED.search(text.lower()) or ("=" in text and _ASSIGNMENT.search(text)):
        return False
    solid = len(text) - text.count(" ")
    if sum(map(len, words)) < MIN_LETTER_SHARE * solid:
        return False
    return named or _has_verb(text) or (len(words) >= FULL_WORDS and text[-1] in ".!" and not text[0].islower())


def _has_verb(text: str) -> bool:
    return bool(_IMPERATIVE.match(text) or _FINITE.search(text))


def _spans(text: str) -> list[tuple[int, int]]:
    return list(_tokenizer().span_tokenize(text)) if re.search(r"[.!?]\s", text) else [(0, len(text))]


def _block_sentences(block: Block, subject: str) -> list[Sentence]:
    starts: list[int] = []
    pieces: list[str] = []
    length = 0
    for _, text in block.lines:
        piece = plain(text)
        starts.append(length)
        pieces.append(piece)
        length += len(piece) + 1
    joined = " ".join(pieces)
    heading = plain(block.heading)
    found: list[Sentence] = []
    for index, (start, end) in enumerate(_spans(joined)):
        text = plain(joined[start:end])
        name = block.name.lstrip("*")
        if not (index or name or _has_verb(text)):
            name = subject  # "A handle to a placement group." says of what only with its name
        if not is_fact(text, named=bool(name) and index == 0):
            continue
        line = block.lines[max(0, bisect.bisect_right(starts, start) - 1)][0]
        found.append(Sentence(f"{name}: {text}" if name else text, heading, line))
    return found


def sentences(lines: Sequence[Line], subject: str = "") -> tuple[Sentence, ...]:
    """The facts in these numbered lines, in order, each once; an argument's sentences begin with its name.

    `subject`: the name that an opening phrase without a verb describes, which is then put before it.
    """
    seen: dict[str, Sentence] = {}
    for index, block in enumerate(blocks(lines)):
        for sentence in _block_sentences(block, "" if index else subject):
            seen.setdefault(sentence.text, sentence)
    return tuple(seen.values())
