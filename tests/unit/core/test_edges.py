"""What few ever meet: an id nobody may choose, a category whose definition is not at hand."""

import pytest

from lightning_state.actors.core.checks import check_request_id
from lightning_state.actors.core.liveness import Liveness
from lightning_state.actors.errors import InvalidStateError


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 601])
def test_a_request_id_is_1_to_600_printable_characters(name: str) -> None:
    with pytest.raises(InvalidStateError, match="request id"):
        check_request_id(name)


def test_liveness_says_whether_it_was_heard() -> None:
    assert "not heard" in repr(Liveness(0.0))
