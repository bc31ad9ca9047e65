"""The README is true: its Python runs as it stands, in a directory of its own, with a Ray of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import indent

import pytest

README = Path(__file__).parents[2] / "README.md"

CHECKS = """
assert state.agents.get("a-1").status == AgentStatus.READY
{lock}
assert state.agents.get("a-1").properties == {{"plan": "…"}}
{job}
assert ray.get(finish.remote("a-1")) > 1
assert state.agents.get("a-1").status == AgentStatus.COMPLETED
from orders import Order
{own_category}
assert [order.order_id for order in state.category(Order).list(status="Open").states] == ["o-1"]
try:
    state.category(Order).set(Order(order_id="o-2", amount=10_001))
except ValidationFailedError as refused:
    assert refused.verdict.issues[0].code == "too_expensive"
else:
    raise AssertionError("the validator was not asked")
"""


@pytest.mark.timeout(180)
def test_the_readmes_python_runs_as_it_stands(tmp_path: Path) -> None:
    first, lock, job, orders, own_category = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "orders.py").write_text(orders)
    checks = CHECKS.format(lock=lock, job=job, own_category=own_category)
    (tmp_path / "readme.py").write_text(
        f"from lightning_state import ValidationFailedError\n{first}\n"
        "with start(data_dir='my-state') as service, service.client() as state:\n" + indent(checks, "    ")
    )
    run = subprocess.run(
        [sys.executable, "readme.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
    )
    assert run.returncode == 0, run.stderr
    assert "expected version 1, stored is version 3" in run.stdout
    assert "invalid_transition" not in run.stderr


def test_every_command_the_readme_shows_exists() -> None:
    shown = set(re.findall(r"^\$ lightning-state (\w+)", README.read_text(), re.MULTILINE))
    listed = subprocess.run(
        [sys.executable, "-m", "lightning_state.cluster.cli", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert shown
    assert {command for command in shown if not re.search(rf"^│ {command}\b", listed, re.MULTILINE)} == set()
