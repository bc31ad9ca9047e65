"""Relevance means what its description says."""

from hypothesis import given
from hypothesis import strategies as st

from lightning_state.actors.workflows.corpus import ranking
from lightning_state.actors.workflows.corpus.ranking import ABOVE, TOPIC, Topic
from lightning_state.actors.workflows.corpus.terms import query_terms, terms

_WORDS = st.sampled_from(["actor", "restart", "ray", "die", "kill", "task", "cach", "expir"])
_WEIGHTS = st.dictionaries(_WORDS, st.floats(0.01, 12))
_SETS = st.frozensets(_WORDS)


@given(_WEIGHTS, _WEIGHTS, _SETS, _SETS)
def test_fit_and_relevance_stay_between_zero_and_one(
    own: dict[str, float], added: dict[str, float], inside: frozenset[str], above: frozenset[str]
) -> None:
    fit, relevance = ranking.fit_and_relevance(Topic(own, added), inside, above)
    assert 0 <= fit <= 1 + 1e-9
    assert 0 <= relevance <= ranking.coverage(own, inside, above) + 1e-9


@given(_WEIGHTS, _WEIGHTS, _SETS, _SETS, _WORDS)
def test_a_sentence_that_holds_one_more_term_is_never_less_relevant(
    own: dict[str, float], added: dict[str, float], inside: frozenset[str], above: frozenset[str], word: str
) -> None:
    topic = Topic(own, added)
    before = ranking.fit_and_relevance(topic, inside, above)
    after = ranking.fit_and_relevance(topic, inside | {word}, above)
    assert all(late >= early - 1e-9 for early, late in zip(before, after, strict=True))


def test_a_term_that_only_stands_above_counts_less() -> None:
    own = {"actor": 3.0, "restart": 1.0}
    assert ranking.coverage(own, frozenset({"restart"}), frozenset({"actor"})) == (1 + ABOVE * 3) / 4


def test_without_the_topics_vocabulary_relevance_is_the_lesser_share() -> None:
    topic = Topic({"actor": 1.0}, {"die": 1.0})
    assert ranking.fit_and_relevance(topic, frozenset({"actor"}), frozenset())[1] == 1 - TOPIC
    assert ranking.fit_and_relevance(topic, frozenset({"die"}), frozenset())[1] == 0
    assert ranking.fit_and_relevance(topic, frozenset({"actor", "die"}), frozenset())[1] == 1


def test_feedback_brings_what_the_best_texts_share_and_others_lack() -> None:
    texts = [(1.0, ["actor", "die", "the"]), (0.9, ["actor", "die"]), (0.8, ["die", "odd", "the"])]
    added = ranking.feedback({"actor": 4.0}, [texts], {"die": 5.0, "the": 0.1, "odd": 9.0})
    assert set(added) == {"die"}
    assert added["die"] == ranking.STRONGEST_ADDED * 4.0


def test_words_of_any_question_carry_no_weight() -> None:
    assert query_terms("How does Ray restart a failed actor?") == ["ray", "restart", "fail", "actor"]


def test_names_are_found_whole_and_in_parts() -> None:
    assert {"actordiederror", "actor", "die", "error"} <= set(terms("ActorDiedError"))
    assert {"max", "restart"} <= set(terms("max_restarts"))
