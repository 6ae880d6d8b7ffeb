"""A recipe's corpus, made ready once for all objectives: corpus, tokenizer, store."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import filelock

from ptk import files
from ptk.data import corpus as corpora
from ptk.data import store_building
from ptk.data import tokenizer as tokenizers
from ptk.data.corpus import Corpus
from ptk.data.store import Store
from ptk.data.tokenizer import Tokenizer
from ptk.progress import Bar, Talk, duration
from ptk.recipe import CorpusSource, TokenizerSpec

TRAINING_VERSION = 1  # of tokenizer training: older ones in the cache are not used
EXTENSION_VERSION = 1  # of extending one, likewise
GROWN = "extension.json"  # beside an extended tokenizer: new ids and the old ones that they stand for


@dataclass(frozen=True)
class Data:
    """Everything that does not depend on the objective."""

    corpus: Corpus
    tokenizer: Tokenizer
    store: Store

    @property
    def fingerprint(self) -> str:
        return self.store.fingerprint

    @property
    def origin(self) -> str:
        return ", ".join(source.path for source in self.corpus.sources)

    @property
    def folders(self) -> list[Path]:
        return [self.store.folder]

    def fingerprints(self) -> dict[str, str]:
        return {
            "corpus": self.corpus.fingerprint,
            "tokenizer": self.tokenizer.fingerprint,
            "store": self.store.fingerprint,
        }


def prepare(sources: tuple[CorpusSource, ...], spec: TokenizerSpec, talk: Talk) -> Data:
    """Corpus, tokenizer and store: found in the cache, or built; what was guessed and dropped is said."""
    corpus = corpora.open_corpus(sources)
    for note in corpus.notes:
        talk.say(note)
    tokenizer = load_or_train(spec, corpus, talk)
    for note in tokenizer.notes:
        talk.say(note)
    store = tokenized(corpus, tokenizer, talk)
    about = store.manifest
    talk.say(
        f"store: {about['tokens']:,} tokens, {about['sentences']:,} sentences, {about['documents']:,} documents "
        f"in {store.folder}"
    )
    for reason, count in about["counts"]["dropped"].items():
        talk.say(f"dropped: {count:,} {reason}")
    return Data(corpus, tokenizer, store)


def tokenized(corpus: Corpus, tokenizer: Tokenizer, talk: Talk) -> Store:
    found = store_building.find(corpus, tokenizer)
    if found is None:
        began = time.monotonic()
        with Bar(talk, "tokenizing, shards", len(corpus.shards)) as bar:
            found = store_building.build(corpus, tokenizer, progress=bar)
        talk.say(f"store built in {duration(time.monotonic() - began)}")
    return found


def load_or_train(spec: TokenizerSpec, corpus: Corpus, talk: Talk) -> Tokenizer:
    """Load the tokenizer the recipe names, or train it on the corpus, once for (corpus, settings); then extend it."""
    found = tokenizers.load(spec.path) if spec.path is not None else trained(spec, corpus, talk)
    found = found.extended(spec.special_tokens) if spec.special_tokens else found
    return extended(found, spec.extend, corpus, talk) if spec.extend else found


def trained(spec: TokenizerSpec, corpus: Corpus, talk: Talk) -> Tokenizer:
    """From the cache, or trained now."""
    key = files.fingerprint(
        "tokenizer", TRAINING_VERSION, corpus.fingerprint, spec.kind, spec.vocab_size, spec.lowercase
    )
    return tokenizers.load(str(cached(key, lambda folder: train(spec, corpus, talk).save(folder))))


def extended(old: Tokenizer, pieces: int, corpus: Corpus, talk: Talk) -> Tokenizer:
    """With pieces learned on the corpus, from the cache or learned now."""
    about = (old.spec, dict(old.names), old.segments)
    key = files.fingerprint("extended tokenizer", EXTENSION_VERSION, corpus.fingerprint, about, pieces)

    def write(folder: Path) -> None:
        made = extend(old, pieces, corpus, talk)
        made.save(folder)
        files.write_json(folder / GROWN, made.grown)

    folder = cached(key, write)
    grown = {int(new): tuple(ids) for new, ids in files.read_json(folder / GROWN).items()}
    return replace(tokenizers.load(str(folder)), notes=old.notes, grown=grown)


def cached(key: str, write: Callable[[Path], None]) -> Path:
    """The cache's folder of a tokenizer; it is written now when it is not there."""
    folder = files.cache_folder() / "tokenizers" / key
    with files.disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{folder}.lock"):
            if not folder.exists():
                write(aside := folder.with_name(f".{key}-{os.getpid()}"))
                os.rename(aside, folder)
    return folder


def train(spec: TokenizerSpec, corpus: Corpus, talk: Talk) -> Tokenizer:
    from ptk.data import tokenizer_training

    began = time.monotonic()
    talk.say(f"training a {spec.kind} tokenizer of {spec.vocab_size:,} entries")
    tokenizer = tokenizer_training.train(spec, texts(corpus))
    for note in tokenizer.notes:
        talk.say(note)
    talk.say(f"tokenizer trained in {duration(time.monotonic() - began)}")
    return tokenizer


def extend(old: Tokenizer, pieces: int, corpus: Corpus, talk: Talk) -> Tokenizer:
    from ptk.data import tokenizer_extension

    began = time.monotonic()
    talk.say(f"extending a {old.kind} tokenizer of {old.vocab_size:,} entries by {pieces:,} pieces")
    tokenizer = tokenizer_extension.extend(old, texts(corpus), pieces)
    for note in tokenizer.notes:
        talk.say(note)
    talk.say(f"tokenizer extended in {duration(time.monotonic() - began)}")
    return tokenizer


def texts(corpus: Corpus) -> Iterator[str]:
    """The text of every document, shard by shard."""
    counts = corpora.Counts()
    for shard in corpus.shards:
        for document in corpora.read(corpus, shard, counts):
            yield document.text
