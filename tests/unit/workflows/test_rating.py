from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lightning_state.actors.errors import CorpusError
from lightning_state.actors.workflows.corpus import Corpus

TEXT = """# Kettle

A kettle boils water on the stove in four minutes.
The lid of a kettle keeps the steam in while the water boils.
A stove needs gas or wood to burn.
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    (tmp_path / "kettle.md").write_text(TEXT)
    return Corpus.open(tmp_path / "kettle.md", tmp_path / "cache")


def test_another_process_opens_the_same_index_without_reading_again(corpus: Corpus) -> None:
    other = Corpus.at(corpus.describe().index)
    assert not other.describe().built
    assert other.search("kettle water", 5) == corpus.search("kettle water", 5)


def test_an_index_that_is_gone_is_an_error(corpus: Corpus) -> None:
    index = corpus.describe().index
    shutil.rmtree(index)
    with pytest.raises(CorpusError, match="open the corpus again"):
        Corpus.at(index)


def test_what_another_question_found_is_rated_for_this_one(corpus: Corpus) -> None:
    found = corpus.search("gas wood stove", 5)
    gas = next(passage for passage in found if "gas" in passage.sentence)
    (rated,) = corpus.rate("How does a kettle boil water?", [gas])
    assert rated.source == gas.source
    assert rated.relevance < gas.relevance


def test_a_rating_for_its_own_question_keeps_its_relevance(corpus: Corpus) -> None:
    found = corpus.search("kettle water", 5)
    assert [one.relevance for one in corpus.rate("kettle water", found)] == [one.relevance for one in found]
