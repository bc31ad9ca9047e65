"""The corpus as the workflow sees it: open it, search it, ask where to go on."""

import re
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import msgspec
import tantivy

from lightning_state.actors.errors import CorpusError
from lightning_state.actors.workflows.corpus import ranking
from lightning_state.actors.workflows.corpus.building import fill, folder_corpus, installed_corpus, silent
from lightning_state.actors.workflows.corpus.document import TITLE_SEPARATOR, Passage, Source, document_id
from lightning_state.actors.workflows.corpus.index import (
    Manifest,
    StoredDocument,
    StoredSentence,
    default_cache_dir,
    load,
    manifest_of,
    publish,
)
from lightning_state.actors.workflows.corpus.ranking import Topic
from lightning_state.actors.workflows.corpus.reader_pool import Progress
from lightning_state.actors.workflows.corpus.terms import is_question_term, query_terms, terms

_Entry = TypeVar("_Entry", StoredDocument, StoredSentence)

_FEEDBACK_DOCUMENTS = 12
_FEEDBACK_SENTENCES = 30
_DOCUMENTS = 80  # best documents whose sentences all compete
_SENTENCES = 600  # best sentences that compete wherever they stand
_TITLE_BOOST = 1.6  # a name that matches says more than a mention
_CONTEXT_BOOST = 0.5
_DOCUMENT_SHARE = 0.5  # by which the best document raises its sentences
_EVIDENCE_SENTENCES = 3
_SCOPE_FACTOR = 1.6  # for the distribution that the question names
_PER_DOCUMENT = 6  # sentences of one document among the answers, and at most half of them
_FOLLOW_UPS = 4


@dataclass(frozen=True)
class CorpusDescription:
    """What was read, and how the index came about."""

    documents: int
    sentences: int
    files_read: int
    files_skipped: int
    skipped_reasons: dict[str, int]  # reason → files
    built: bool  # now; False: taken from the cache
    seconds: float  # to read and index, or to open
    index: Path


@dataclass(frozen=True)
class _Candidate:
    entry: StoredSentence
    inside: frozenset[str]
    score: float
    relevance: float


class Corpus:
    """Documents to search, from any thread; equal corpus and question give equal answers."""

    def __init__(self, directory: Path, manifest: Manifest, *, built: bool, started: float) -> None:
        self._manifest = manifest
        self._index = load(directory)
        self._schema = self._index.schema
        self._searcher = self._index.searcher()
        self._scopes = {name.lower().replace("_", "-"): name for name in manifest.distributions}
        self._description = CorpusDescription(
            manifest.documents,
            manifest.sentences,
            manifest.files_read,
            manifest.files_skipped,
            manifest.skipped_reasons,
            built,
            time.perf_counter() - started,
            directory,
        )

    @classmethod
    def open(
        cls,
        path: Path | None = None,
        cache_dir: Path | None = None,
        progress: Progress | None = None,
        *,
        distributions: Collection[str] | None = None,
        processes: int | None = None,
    ) -> "Corpus":
        """The folder or file at `path`; None: what the installed distributions carry, or only the ones named.

        Built on first use and cached until a file or version changes. `progress(files read, files)` is called
        while reading, from this thread. Raises CorpusError when nothing can be read or the cache cannot be
        written.
        """
        started = time.perf_counter()
        tasks, key = folder_corpus(path) if path is not None else installed_corpus(distributions)
        directory = (cache_dir or default_cache_dir()).expanduser().absolute() / "corpus" / key
        manifest = manifest_of(directory)
        built = manifest is None
        if manifest is None:
            publish(directory, lambda place: fill(place, tasks(), progress or silent, processes))
            manifest = manifest_of(directory)
        if manifest is None:
            raise CorpusError(f"the corpus index {directory} was removed or damaged while it was opened: try again")
        return cls(directory, manifest, built=built, started=started)

    @classmethod
    def at(cls, directory: Path) -> "Corpus":
        """The corpus whose index is in `directory` (another process's `describe().index`): nothing is read again.

        Raises CorpusError when the index is gone or damaged.
        """
        started = time.perf_counter()
        manifest = manifest_of(directory)
        if manifest is None:
            raise CorpusError(f"there is no whole corpus index at {directory}: open the corpus again")
        return cls(directory, manifest, built=False, started=started)

    def __len__(self) -> int:
        return self._manifest.documents

    def __repr__(self) -> str:
        return f"<Corpus {len(self)} documents, {self._manifest.sentences} sentences>"

    def describe(self) -> CorpusDescription:
        """What the corpus holds and what was skipped."""
        return self._description

    def search(self, query: str, limit: int, exclude_ids: Collection[str] = ()) -> list[Passage]:
        """At most `limit` sentences, best first, each saying something the others do not.

        `exclude_ids` leaves out documents by `document_id`, sentences by `passage.id` and all sentences of a
        line by `str(passage.source)`; with a sentence go those elsewhere that repeat it.
        """
        topic = self._topic(query)
        if not topic.own or limit < 1:
            return []
        candidates = self._candidates(topic, self._scope(query))
        most = min(_PER_DOCUMENT, max(2, limit // 2))
        return _distinct(candidates, limit, frozenset(exclude_ids), most=most)

    def rate(self, query: str, passages: Iterable[Passage]) -> list[Passage]:
        """The passages with score and relevance for this question, whatever question found them.

        These scores compare only with each other: they leave out what a search adds for a passage's document.
        """
        topic = self._topic(query)
        scope = self._scope(query)
        rated: list[Passage] = []
        for passage in passages:
            source = passage.source
            above = frozenset(terms(f"{source.distribution} {source.module} {passage.title}"))
            score, relevance = self._rating(passage.sentence, above, source, topic, scope)
            rated.append(msgspec.structs.replace(passage, score=round(score, 6), relevance=round(relevance, 6)))
        return rated

    def expand(self, query: str, passages: Sequence[Passage]) -> list[str]:
        """Follow-up questions for another search: the subject, with the subtopics that the passages lead to.

        The subtopics are the names that the best passages are about (arguments, functions, classes, sections)
        and that the question does not hold, those of more and better passages first; at most four.
        """
        own = query_terms(query)
        names: dict[str, float] = {}
        for passage in passages:
            lead = passage.sentence.split(":", 1)[0] if ": " in passage.sentence else ""
            subject = [lead] if lead.isidentifier() else []
            subject.append(passage.title.split(TITLE_SEPARATOR)[-1].rsplit(".", 1)[-1])
            for name in dict.fromkeys(subject):
                if new := [term for term in terms(name) if term not in own]:
                    names[name] = names.get(name, 0.0) + passage.score * min(1.0, len(new) / 2)
        best = sorted(names.items(), key=lambda pair: (-pair[1], pair[0]))
        return [f"{_matter(query)} {name}" for name, _ in best[:_FOLLOW_UPS]]

    def _weight(self, term: str) -> float:
        return ranking.idf(self._manifest.documents, self._searcher.doc_freq("body", term))

    def _topic(self, query: str) -> Topic:
        own = {term: self._weight(term) for term in query_terms(query)}
        if not own:
            return Topic({}, {})
        documents = [(score, terms(found.body)) for score, found in self._best_documents(own, _FEEDBACK_DOCUMENTS)]
        best = _distinct(self._candidates(Topic(own, {}), self._scope(query)), _FEEDBACK_SENTENCES, frozenset(), most=2)
        sentences = [(passage.score**2, terms(passage.sentence)) for passage in best]
        words = {term for _, found in documents + sentences for term in found}
        weight = {term: self._weight(term) for term in words if not is_question_term(term)}
        return Topic(own, ranking.feedback(own, (documents, sentences), weight))

    def _best_documents(
        self, weights: Mapping[str, float], limit: int, own: Mapping[str, float] | None = None
    ) -> list[tuple[float, StoredDocument]]:
        query = self._query(weights, {"body": 1.0, "title": _TITLE_BOOST}, own or weights)
        return self._hits(query, limit, StoredDocument)

    def _query(
        self, weights: Mapping[str, float], fields: Mapping[str, float], own: Mapping[str, float]
    ) -> tantivy.Query:
        """Any of the terms, each in the field where it counts most."""
        mean = sum(own.values()) / len(own)
        parts: list[tuple[tantivy.Occur, tantivy.Query]] = []
        for term, weight in weights.items():
            places = [
                tantivy.Query.boost_query(tantivy.Query.term_query(self._schema, name, term, "freq"), boost)
                for name, boost in fields.items()
            ]
            factor = 1.0 if term in own else weight / mean
            best = tantivy.Query.disjunction_max_query(places, 0.2)
            parts.append((tantivy.Occur.Should, tantivy.Query.boost_query(best, factor)))
        return tantivy.Query.boolean_query(parts)

    def _hits(self, query: tantivy.Query, limit: int, kind: type[_Entry]) -> list[tuple[float, _Entry]]:
        found = self._searcher.search(query, limit, count=False).hits
        return [(score, msgspec.msgpack.decode(self._searcher.doc(at)["stored"][0], type=kind)) for score, at in found]

    def _scope(self, query: str) -> frozenset[str]:
        """The installed distributions that the question names."""
        words = {word.strip("?!.,:;()'\"`").lower().replace("_", "-") for word in query.split()}
        return frozenset(name for lower, name in self._scopes.items() if lower in words)

    def _candidates(self, topic: Topic, scope: frozenset[str]) -> list[_Candidate]:
        """The sentences of the best documents and the best sentences wherever they stand, best first."""
        weights = topic.weights
        documents = self._best_documents(weights, _DOCUMENTS, topic.own)
        best = max((score for score, _ in documents), default=1.0)
        share = {document.number: score / best for score, document in documents}
        everywhere = self._query(weights, {"sentence": 1.0, "context": _CONTEXT_BOOST}, topic.own)
        inside = tantivy.Query.term_set_query(self._schema, "parent", list(share))
        entries = {
            entry.order: entry
            for query in (everywhere, inside)
            for _, entry in self._hits(query, _SENTENCES, StoredSentence)
        }
        found = [self._candidate(entry, topic, scope) for entry in entries.values()]
        evidence = _evidence(found)
        scored: list[_Candidate] = []
        for item in found:
            if item.score > 0:
                number = item.entry.number
                rank = (share.get(number, 0.0) + evidence[number]) / 2
                scored.append(replace(item, score=item.score * (1 + _DOCUMENT_SHARE * rank)))
        return sorted(scored, key=lambda item: (-item.score, item.entry.order))

    def _candidate(self, entry: StoredSentence, topic: Topic, scope: frozenset[str]) -> _Candidate:
        above = frozenset(terms(f"{entry.distribution} {entry.module} {entry.title} {entry.heading}"))
        score, relevance = self._rating(entry.text, above, entry, topic, scope)
        return _Candidate(entry, frozenset(terms(entry.text)), score, relevance)

    def _rating(
        self, text: str, above: frozenset[str], where: Source | StoredSentence, topic: Topic, scope: frozenset[str]
    ) -> tuple[float, float]:
        words = terms(text)
        fit, relevance = ranking.fit_and_relevance(topic, frozenset(words), above)
        score = fit * ranking.brevity(len(words)) * ranking.nearness(where.module)
        return score * (_SCOPE_FACTOR if where.distribution in scope else 1.0), relevance


def _evidence(candidates: Iterable[_Candidate]) -> dict[int, float]:
    """For each document how strong its best sentences are together, 0 to 1.

    BM25 punishes a long document (all options of an actor in one docstring) for what else it holds; this does
    not.
    """
    scores: dict[int, list[float]] = {}
    for item in candidates:
        scores.setdefault(item.entry.number, []).append(item.score)
    sums = {number: sum(sorted(found, reverse=True)[:_EVIDENCE_SENTENCES]) for number, found in scores.items()}
    best = max(sums.values(), default=0.0) or 1.0
    return {number: value / best for number, value in sums.items()}


def _distinct(candidates: Iterable[_Candidate], limit: int, excluded: frozenset[str], *, most: int) -> list[Passage]:
    """The best without repetitions (docstrings often copy each other) and at most `most` of one document."""
    candidates = list(candidates)
    taken = [item.inside for item in candidates if excluded and _is_excluded(_passage(item), excluded)]
    of_document: Counter[int] = Counter()
    passages: list[Passage] = []
    for candidate in candidates:
        passage = _passage(candidate)
        if passage.document_id in excluded or _is_excluded(passage, excluded):
            continue
        if of_document[candidate.entry.number] >= most:
            continue
        if any(ranking.near(candidate.inside, other) for other in taken):
            continue
        taken.append(candidate.inside)
        of_document[candidate.entry.number] += 1
        passages.append(passage)
        if len(passages) == limit:
            break
    return passages


def _is_excluded(passage: Passage, excluded: frozenset[str]) -> bool:
    return passage.id in excluded or passage.source.uri in excluded


def _passage(candidate: _Candidate) -> Passage:
    entry = candidate.entry
    document = Source(entry.distribution, entry.version, entry.module, entry.path, entry.document_line)
    return Passage(
        entry.text,
        entry.title,
        document.at(entry.line),
        round(candidate.score, 6),
        round(candidate.relevance, 6),
        document_id(document),
        entry.line,
    )


def _matter(query: str) -> str:
    """The words of the question that carry its matter, as it spells them."""
    own = set(query_terms(query))
    words = (word.strip(".-") for word in re.findall(r"[\w.-]+", query))
    return " ".join(dict.fromkeys(word for word in words if own.intersection(terms(word))))
