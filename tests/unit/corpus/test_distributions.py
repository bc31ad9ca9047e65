"""Which modules of an installed distribution are read."""

import importlib.metadata
from pathlib import Path

import pytest

from lightning_state.actors.workflows.corpus.distributions import distribution_tasks, fingerprint

FILES = {
    "demo/__init__.py": "from ._inner import *\nfrom demo._deep.api import (\n    one,\n)\n",
    "demo/_inner.py": "",
    "demo/_secret.py": "",
    "demo/_deep/__init__.py": "",
    "demo/_deep/api.py": "",
    "demo/_deep/more.py": "",
    "demo/plain.py": "",
    "demo/plain.pyi": "",
    "demo/compiled.pyi": "",
    "demo/tests/test_plain.py": "",
    "demo/_vendor/other.py": "",
    "demo/api_pb2.py": "",
    "demo/data.json": "",
}


@pytest.fixture
def distribution(tmp_path: Path) -> importlib.metadata.Distribution:
    info = tmp_path / "demo-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n\nThe demo is described here.\n")
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (info / "RECORD").write_text("".join(f"{name},sha256=x,{len(text)}\n" for name, text in FILES.items()))
    [found] = importlib.metadata.distributions(path=[str(tmp_path)])
    return found


def test_public_and_reexported_modules_are_read_and_no_others(
    distribution: importlib.metadata.Distribution,
) -> None:
    tasks = distribution_tasks({"demo": distribution})
    assert [(task.kind, task.source.module, Path(task.source.path).suffix) for task in tasks] == [
        ("module", "demo", ".py"),
        ("module", "demo._deep.api", ".py"),
        ("module", "demo._inner", ".py"),
        ("module", "demo.compiled", ".pyi"),
        ("module", "demo.plain", ".py"),
        ("metadata", "README", ""),
    ]
    assert tasks[0].source.uri == "pypi://demo@1.0/demo#L1"
    assert tasks[0].source.label == "demo 1.0, demo, line 1"


def test_the_fingerprint_names_the_version(distribution: importlib.metadata.Distribution) -> None:
    [line] = fingerprint({"demo": distribution})
    assert line.startswith("demo 1.0 ")
