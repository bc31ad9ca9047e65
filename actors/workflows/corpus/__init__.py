"""The research corpus: real documents, indexed once, searched by BM25 for sentences that answer a question.

Plain Python: nothing here imports Ray, opens a socket or runs the code whose documentation it reads.
"""

from lightning_state.actors.workflows.corpus.document import Document, Passage, Source
from lightning_state.actors.workflows.corpus.retrieval import Corpus, CorpusDescription

__all__ = ["Corpus", "CorpusDescription", "Document", "Passage", "Source"]
