"""Text to facts: what is kept, what is left out, and where it stands."""

from hypothesis import given
from hypothesis import strategies as st

from lightning_state.actors.workflows.corpus.blocks import dedent
from lightning_state.actors.workflows.corpus.document import Sentence
from lightning_state.actors.workflows.corpus.markup import plain
from lightning_state.actors.workflows.corpus.sentences import is_fact, sentences

GOOGLE = """Create an actor that survives its owner. It is found again by its name, e.g. by get_actor.

    Some more words about it follow here:

    .. code-block:: python

        actor = Actor.remote()  # this is not prose and must never be one

    Args:
        max_restarts: The maximum number of times that the actor is restarted.
            A value of -1 means that it is restarted forever.
        lifetime (str): Either None or "detached".
        **options: Anything else that :class:`~ray.actor.ActorClass` takes as an option.

    Examples:
        >>> create(max_restarts=3)
        This output of the example is left out as well.

    Returns:
        The handle of the actor, which may be given to other tasks.
    """


def _read(text: str, subject: str = "") -> list[Sentence]:
    return list(sentences(dedent(list(enumerate(text.split("\n"), 1))), subject))


def _texts(text: str) -> list[str]:
    return [sentence.text for sentence in _read(text)]


def test_a_google_docstring_gives_its_prose_and_its_arguments_by_name() -> None:
    assert _texts(GOOGLE) == [
        "Create an actor that survives its owner.",
        "It is found again by its name, e.g. by get_actor.",
        "max_restarts: The maximum number of times that the actor is restarted.",
        "max_restarts: A value of -1 means that it is restarted forever.",
        'lifetime: Either None or "detached".',
        "options: Anything else that ActorClass takes as an option.",
        "The handle of the actor, which may be given to other tasks.",
    ]


def test_sentences_know_their_line_and_heading() -> None:
    found = {sentence.text: (sentence.line, sentence.heading) for sentence in _read(GOOGLE)}
    lines = GOOGLE.split("\n")
    for text, (line, _) in found.items():
        assert text.split(": ")[-1].split()[0].strip('"') in lines[line - 1]
    assert found["max_restarts: A value of -1 means that it is restarted forever."] == (11, "Args")


def test_a_numpy_docstring_gives_its_parameters_by_name() -> None:
    text = """Fit a line to points.

    Parameters
    ----------
    deg : int
        Degree of the fitting polynomial.
    rcond : float, optional
        Relative condition number of the fit, which is ignored when it is too small.

    See Also
    --------
    polyval : Evaluates polynomials at the points that are given.
    """
    assert "deg: Degree of the fitting polynomial." in _texts(text)
    assert "rcond: Relative condition number of the fit, which is ignored when it is too small." in _texts(text)


def test_a_rest_docstring_gives_its_fields_by_name() -> None:
    text = """Send a request.

    :param timeout: How many seconds to wait for the answer.
    :type timeout: a float that is never negative
    :returns: The answer, which is parsed when it arrives.
    :copyright: Copyright of the people who wrote this and other files.
    """
    assert _texts(text) == [
        "timeout: How many seconds to wait for the answer.",
        "The answer, which is parsed when it arrives.",
    ]


def test_markdown_loses_code_tables_badges_and_links_but_not_their_words() -> None:
    text = """# Cache

[![build](https://ci/badge.svg)](https://ci)

Items **expire** after their [time to live](https://example.org/ttl), see `TTLCache` for that.

```python
cache = TTLCache(maxsize=10)  # this comment is code and is left out here
```

| name | what it does in the table |
|------|---------------------------|

- The least recently used item is discarded first.
- An expired item is never returned to a caller.
"""
    assert _texts(text) == [
        "Items expire after their time to live, see TTLCache for that.",
        "The least recently used item is discarded first.",
        "An expired item is never returned to a caller.",
    ]


def test_an_opening_phrase_without_a_verb_is_given_its_subject() -> None:
    assert _read("A handle to a placement group.", "PlacementGroup")[0].text == (
        "PlacementGroup: A handle to a placement group."
    )


def test_what_nobody_would_call_a_fact_is_refused() -> None:
    for text in (
        "TODO: this must be written before it is released.",
        "Copyright 2024 the people who are the authors.",
        "Is this what you are looking for today?",
        "The following options are understood by it:",
        "x = [a + b for a, b in zip(self.one, self.two)]",
        "Short and done.",
        "import this_module_and_another_one as something_else",
    ):
        assert not is_fact(text), text
    assert is_fact("The actor is restarted when it dies unexpectedly.")


def test_roles_become_the_names_they_point_to() -> None:
    assert plain("See :class:`~a.b.Name`, :ref:`the text <target>` and ``code``.") == "See Name, the text and code."
    assert plain("max_task_retries and __init__ keep *their* names") == "max_task_retries and __init__ keep their names"


@given(st.text(alphabet=st.sampled_from("ab. :*`-=#>|\n\t()[]<>_~\"'!?0") | st.characters(), max_size=400))
def test_any_text_can_be_read_and_lines_stay_within_it(text: str) -> None:
    lines = text.split("\n")
    for sentence in _read(text):
        assert 1 <= sentence.line <= len(lines)
        assert "\n" not in sentence.text
        assert sentence.text == sentence.text.strip() != ""
