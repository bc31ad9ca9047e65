"""The public names of the checkers: all there, without Ray, and enough to judge a run of one's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lightning_state.actors import testing


def test_every_public_name_is_there() -> None:
    for name in testing.__all__:
        assert getattr(testing, name) is not None
    assert set(testing.__all__) <= set(dir(testing))


def test_every_checker_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reliability.md").read_text()
    assert [name for name in testing.__all__ if name.startswith(("check_", "judge_")) and f"`{name}`" not in page] == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="NoSuchName"):
        _ = testing.NoSuchName


def test_checkers_are_loaded_without_ray() -> None:
    code = "import sys; from lightning_state.actors.testing import *; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_of_ones_own_is_judged_in_a_few_lines() -> None:
    history = [
        testing.Transaction(
            id=f"t{n}",
            client="me",
            invoked=2 * n,
            returned=2 * n + 1,
            outcome=testing.Outcome.OK,
            operations=(
                testing.ListRead(key="k", elements=tuple(map(str, range(n)))),
                testing.Append(key="k", element=str(n), version=n + 1),
            ),
        )
        for n in range(200)
    ]
    verdict = testing.judge_run(history, {"transactions": lambda: testing.check_transactions(history)})
    assert verdict.standing is testing.Standing.VALID
