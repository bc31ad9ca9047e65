"""A category whose validator takes its time, as one that asks a model would.

It is a module beside the notebook, not a cell: validators and replicas are other processes and import it from here.
"""

import time

from lightning_state import Category, Issue, State, VerdictContext

REVIEW_S = 0.3
"""How long a review takes. A validator does 16 at a time, so it judges some 50 drafts a second and no more."""


class Draft(State):
    """A text that somebody reviews before it is stored."""

    draft_id: str
    text: str = ""


def review(context: VerdictContext) -> list[Issue]:
    """Wait as for an answer from far away, then look at the text."""
    time.sleep(REVIEW_S)
    is_blank = isinstance(context.new, Draft) and not context.new.text.strip()
    return [Issue("empty", "text", "there is nothing to review")] if is_blank else []


DRAFTS = Category(name="drafts", model=Draft, key_field="draft_id", validators=("drafts:review",))
