from __future__ import annotations

from pathlib import Path

from lightning_state.actors.core.verl.facts import verify_facts
from lightning_state.actors.workflows.evidence import Assessment, claim_of, disputed, recorded, restored, source_text
from lightning_state.actors.workflows.finding import Finding

MODULE = '''"""Doc.

Args:
    retries: How often a call is repeated, 3 times unless set.
        A value of -1 repeats it for ever.
    name: What it is called.
"""
'''


def at(path: Path, line: int, sentence: str) -> Finding:
    uri = f"file://{path}#L{line}"
    return Finding(sentence, "call", uri, "call", f"file://{path}#L1", str(path), line, 1, 1.0, 1.0)


def status(item: Finding) -> str:
    return verify_facts([claim_of(item)]).findings[0].status


def test_a_sentence_on_an_argument_is_found_although_its_name_stands_above(tmp_path: Path) -> None:
    file = tmp_path / "m.py"
    file.write_text(MODULE)
    assert status(at(file, 5, "retries: A value of -1 repeats it for ever.")) == "Verified"
    assert status(at(file, 4, "retries: How often a call is repeated, 3 times unless set.")) == "Verified"


def test_a_fact_that_the_source_no_longer_holds_fails(tmp_path: Path) -> None:
    file = tmp_path / "m.py"
    file.write_text(MODULE)
    assert status(at(file, 4, "retries: How often a call is repeated, 5 times unless set.")) == "Failed"
    assert status(at(file, 4, "The moon is made of green cheese and rises early.")) == "Failed"


def test_a_source_that_is_gone_supports_nothing(tmp_path: Path) -> None:
    item = at(tmp_path / "gone.md", 1, "Something was said here once.")
    assert source_text(item) is None
    assert claim_of(item).source_text is None


def test_an_assessment_survives_its_record() -> None:
    one = Assessment("f", "Verified", 1.0, [], "verl")
    assert restored(recorded([one])) == [one]
    against = disputed(one, ["g contradicts it"])
    assert (against.status, against.issues) == ("Disputed", ["g contradicts it"])
    assert not against.is_verified
