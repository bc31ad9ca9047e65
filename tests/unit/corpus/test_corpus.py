"""The corpus from outside: open, search, expand, and what happens to its cache."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lightning_state.actors.errors import CorpusError
from lightning_state.actors.workflows.corpus import Corpus
from lightning_state.actors.workflows.corpus.index import default_cache_dir

LOCKS = """# Locks

A lock is held under a lease. The lease is renewed while the holder is alive.

## Expiry

- When the lease runs out, the lock is released and another client may acquire it.
- A fencing token grows with every grant of a lock, so that writes of an old holder are refused.
"""
CACHES = """<html><body><h1>Caches</h1>
<p>A cached entry expires after its time to live. The cache is bounded in bytes.</p></body></html>"""
STORES = "The store keeps every version of a state.\nA snapshot of the store is written while it is in use.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    (folder / "inner").mkdir(parents=True)
    (folder / "locks.md").write_text(LOCKS)
    (folder / "caches.html").write_text(CACHES)
    (folder / "inner" / "stores.txt").write_text(STORES)
    (folder / ".hidden.md").write_text("This hidden file is never read by anyone.")
    (folder / "image.txt").write_bytes(b"\0\1\2" * 50)
    return folder


@pytest.fixture
def cache_dir(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_a_folder_answers_with_sentences_and_the_lines_they_stand_on(folder: Path, cache_dir: Path) -> None:
    corpus = Corpus.open(folder, cache_dir)
    best = corpus.search("Which token fences off the old holder of a lock?", 3)[0]
    assert best.sentence.startswith("A fencing token grows with every grant")
    assert best.source.uri == f"file://{folder / 'locks.md'}#L8"
    assert best.line == 8
    assert best.title == "Locks > Expiry"
    assert 0.4 < best.relevance <= 1
    assert corpus.search("When does a cached entry expire?", 1)[0].source.path.endswith("caches.html")
    assert "snapshot" in corpus.search("snapshots", 1)[0].sentence


def test_the_description_says_what_was_read_skipped_and_built(folder: Path, cache_dir: Path) -> None:
    seen: list[tuple[int, int]] = []
    first = Corpus.open(folder, cache_dir, lambda done, total: seen.append((done, total))).describe()
    assert (first.documents, first.files_read, first.files_skipped, first.built) == (4, 3, 1, True)
    assert first.skipped_reasons == {"binary": 1}
    assert seen[-1] == (4, 4)
    again = Corpus.open(folder, cache_dir)
    assert not again.describe().built
    assert len(again) == 4


def test_a_changed_file_is_read_again(folder: Path, cache_dir: Path) -> None:
    Corpus.open(folder, cache_dir)
    (folder / "new.md").write_text("Unicorns are never found in any document of ours.\n")
    corpus = Corpus.open(folder, cache_dir)
    assert corpus.describe().built
    assert corpus.search("unicorns", 1)[0].sentence.startswith("Unicorns")


def test_answers_are_equal_for_equal_corpus_and_question(folder: Path, tmp_path: Path) -> None:
    one, other = (Corpus.open(folder, tmp_path / name) for name in ("a", "b"))
    assert one.search("how is a lock released", 9) == other.search("how is a lock released", 9)


def test_excluded_documents_and_sentences_do_not_come_back(folder: Path, cache_dir: Path) -> None:
    corpus = Corpus.open(folder, cache_dir)
    first = corpus.search("lock lease", 1)[0]
    line = {"A lock is held under a lease.", "The lease is renewed while the holder is alive."}
    assert first.sentence in line

    def rest(excluded: str) -> set[str]:
        return {passage.sentence for passage in corpus.search("lock lease", 9, {excluded})}

    assert line & rest(first.id) == line - {first.sentence}
    assert not line & rest(str(first.source))
    assert not line & rest(first.document_id)
    assert any("runs out" in sentence for sentence in rest(first.document_id))


def test_follow_up_questions_differ_from_the_question(folder: Path, cache_dir: Path) -> None:
    corpus = Corpus.open(folder, cache_dir)
    question = "lock lease"
    follow_ups = corpus.expand(question, corpus.search(question, 5))
    assert follow_ups
    assert len(set(follow_ups)) == len(follow_ups) <= 4
    assert all(item.startswith("lock lease ") for item in follow_ups)


@pytest.mark.parametrize("question", ["", "   ", "?!", "zzzzqqq", "how", '"a AND (b', "\0"])
def test_any_question_is_answered_if_only_with_nothing(question: str, folder: Path, cache_dir: Path) -> None:
    corpus = Corpus.open(folder, cache_dir)
    assert isinstance(corpus.search(question, 5), list)
    assert corpus.expand(question, []) == []
    assert corpus.search("lock", 0) == []


def test_a_damaged_index_is_built_again(folder: Path, cache_dir: Path) -> None:
    directory = Corpus.open(folder, cache_dir).describe().index
    store = max((path for path in directory.iterdir() if path.suffix == ".store"), key=os.path.getsize)
    data = bytearray(store.read_bytes())
    data[len(data) // 2] ^= 0xFF
    store.unlink()  # the open index has the old file mapped: changing that one would pull it from under it
    store.write_bytes(data)
    corpus = Corpus.open(folder, cache_dir)
    assert corpus.describe().built
    assert corpus.search("lock", 1)
    terms = next(directory.glob("*.term"))
    terms.unlink()
    terms.write_bytes(b"")
    assert Corpus.open(folder, cache_dir).describe().built


def test_two_builders_at_once_both_get_a_whole_index(folder: Path, cache_dir: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        corpora = list(pool.map(Corpus.open, [folder] * 4, [cache_dir] * 4))
    assert {len(corpus) for corpus in corpora} == {4}
    assert [path.name for path in (cache_dir / "corpus").iterdir() if path.name.startswith(".")] == []


def test_an_unusable_corpus_says_what_to_do(tmp_path: Path, cache_dir: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "program.exe").write_bytes(b"MZ")
    with pytest.raises(CorpusError, match=r"does not exist: name a folder of .*\.md"):
        Corpus.open(tmp_path / "nowhere", cache_dir)
    with pytest.raises(CorpusError, match="put documents there"):
        Corpus.open(empty, cache_dir)
    (empty / "numbers.txt").write_text("1 2 3\n4 5 6\n")
    with pytest.raises(CorpusError, match="no sentence could be read from 1 files"):
        Corpus.open(empty, cache_dir)
    with pytest.raises(CorpusError, match="not installed: no-such-distribution"):
        Corpus.open(None, cache_dir, distributions=["no-such-distribution"])
    assert not list((cache_dir / "corpus").iterdir())


def test_a_cache_that_cannot_be_written_says_what_to_do(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CorpusError, match="cache_dir or XDG_CACHE_HOME"):
        Corpus.open(folder, tmp_path / "file")


def test_the_cache_honours_the_xdg_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "lightning-state"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert default_cache_dir() == Path.home() / ".cache" / "lightning-state"


def test_installed_documentation_answers_with_its_module_and_line(cache_dir: Path) -> None:
    corpus = Corpus.open(None, cache_dir, distributions=["cachetools", "tenacity"])
    found = corpus.search("How does a TTL cache in cachetools expire items?", 5)
    assert {passage.source.distribution for passage in found} == {"cachetools"}
    assert any("expired" in passage.sentence for passage in found)
    for passage in found:
        line = Path(passage.source.path).read_text(encoding="utf-8").splitlines()[passage.line - 1]
        assert passage.sentence.split(": ")[-1].split()[0].strip("\"'`(") in line
        assert passage.source.uri.startswith("pypi://cachetools@")


def test_rays_own_documentation_says_how_a_failed_actor_is_restarted(cache_dir: Path) -> None:
    corpus = Corpus.open(None, cache_dir, distributions=["ray"])
    found = corpus.search("How does Ray restart a failed actor?", 12)
    assert sum("max_restarts" in passage.sentence for passage in found) >= 2
    assert any("dies unexpectedly" in passage.sentence for passage in found)
    assert any("max_task_retries" in passage.sentence for passage in found)
    assert not corpus.describe().skipped_reasons


def test_threads_may_search_at_once(folder: Path, cache_dir: Path) -> None:
    corpus = Corpus.open(folder, cache_dir)
    questions = ["lock lease", "snapshot of the store", "when does a cached entry expire"] * 20
    alone = [corpus.search(question, 5) for question in questions]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(corpus.search, questions, [5] * len(questions))) == alone
