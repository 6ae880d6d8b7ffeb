"""Fixtures for every test: a tiny corpus and recipes of it, the real data beside the checkout, and no network."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

TINY = """
name: tiny
seed: 7
corpus: {path: "PATH", split_documents: blank_line}
tokenizer: {kind: wordpiece, vocab_size: 120}
objective: {name: mlm}
model: {type: bert, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 64,
        max_position_embeddings: 64}
train: {steps: 8, length: 32, batch_size: 16, lr: 1e-3, log_every: 1, precision: fp32, workers: 0}
evaluate: {share: 0.2, examples: 50}
"""

BERT = "{type: bert, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 64, "
BERT += "max_position_embeddings: 64, hidden_dropout_prob: DROP, attention_probs_dropout_prob: DROP}"
ALBERT = BERT.replace("type: bert", "type: albert, embedding_size: 16, classifier_dropout_prob: DROP")
ROBERTA = BERT.replace("type: bert", "type: roberta").replace("embeddings: 64", "embeddings: 66")
ELECTRA = BERT.replace("type: bert", "type: electra, embedding_size: 16")
GPT2 = "{type: gpt2, n_embd: 32, n_layer: 2, n_head: 2, n_positions: 64, "
GPT2 += "resid_pdrop: DROP, embd_pdrop: DROP, attn_pdrop: DROP}"
T5 = "{type: t5, d_model: 32, d_kv: 16, d_ff: 64, num_layers: 2, num_heads: 2, dropout_rate: DROP}"
WORDPIECE, CHAR, UNIGRAM = (f"{{kind: {kind}, vocab_size: 260}}" for kind in ("wordpiece", "char", "unigram"))
BPE = '{kind: bpe, vocab_size: 300, special_tokens: ["[CLS]", "[SEP]", "[MASK]"]}'
FULL = "packing: full_sentences, masking: whole_word, rounding: random, random_from: pieces"
FULL += ", mask_rate: {from: 0.3, to: 0.15}"
MEMBERS = "{r: {name: span_corruption, weight: 2}, x: {name: span_corruption, noise_density: 0.5}, "
MEMBERS += "s: {name: prefix_lm}}"
# Every objective in its variants: the sections of a recipe, DROP the dropout.
EVERY_OBJECTIVE = {
    "mlm-next": ("{name: mlm}", BERT, WORDPIECE),
    "mlm-order": ("{name: mlm, second_segment: order}", BERT, WORDPIECE),
    "mlm": ("{name: mlm, second_segment: none}", BERT, WORDPIECE),
    "mlm-albert": ("{name: mlm, second_segment: order, masking: ngram}", ALBERT, UNIGRAM),
    "mlm-roberta": (f"{{name: mlm, second_segment: none, {FULL}}}", ROBERTA, BPE),
    "rtd": ("{name: rtd, mask_rate: 0.3, generator_size: 1.0}", ELECTRA, WORDPIECE),
    "rtd-paper": ("{name: rtd, mask_rate: 0.3, generator_size: 0.5, fidelity: paper}", ELECTRA, WORDPIECE),
    "causal_lm": ("{name: causal_lm}", GPT2, CHAR),
    "causal_lm-packed": ("{name: causal_lm, packing: best_fit, isolate_documents: true}", GPT2, CHAR),
    "span_corruption": ("{name: span_corruption, z_loss: 1e-4}", T5, UNIGRAM),
    "span_corruption-iid": ("{name: span_corruption, noise: iid}", T5, UNIGRAM),
    "span_corruption-mass": ("{name: span_corruption, noise: mass}", T5, UNIGRAM),
    "prefix_lm": ("{name: prefix_lm}", T5, UNIGRAM),
    "prefix_lm-decoder": ("{name: prefix_lm, prefix_in: decoder}", GPT2, CHAR),
    "mixture-decoder": (
        "{name: mixture, members: {c: {name: causal_lm}, p: {name: prefix_lm, prefix_in: decoder}}}",
        GPT2,
        CHAR,
    ),
    "mixture": (f"{{name: mixture, members: {MEMBERS}}}", T5, UNIGRAM),
}


def sections_of(name: str, dropout: float) -> dict[str, str]:
    """The sections of a tiny recipe for one of ``EVERY_OBJECTIVE``."""
    objective, model, tokenizer = EVERY_OBJECTIVE[name]
    return {"objective": objective, "model": model.replace("DROP", str(dropout)), "tokenizer": tokenizer}


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of untouched public data; the test is skipped on a machine that has none."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared/data")
    return SHARED


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection beyond this machine fails the test (S11)."""
    connect = socket.socket.connect

    def guarded(self, address):
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            pytest.fail(f"network access to {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def _session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _cache(_session_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores and tokenizers of one test session, apart from the user's own."""
    monkeypatch.setenv("PTK_CACHE", str(_session_cache))


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 documents of 6 to 14 short sentences, one a line, each about a few words of its own."""
    rng = np.random.default_rng(0)
    subjects = ["the cat", "a dog", "my friend", "the old king", "her sister", "one bird"]
    verbs = ["sees", "finds", "likes", "follows", "forgets", "draws"]
    objects = ["a red house", "the river", "an apple", "the long road", "some stones", "two small boats"]
    documents = []
    for _ in range(120):
        mine = [rng.choice(words, 3) for words in (subjects, verbs, objects)]
        lines = [" ".join(rng.choice(words) for words in mine) + "." for _ in range(rng.integers(6, 15))]
        documents.append("\n".join(lines))
    path = tmp_path_factory.mktemp("text") / "tiny.txt"
    path.write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def tiny(tiny_text: Path, tmp_path: Path) -> Callable[..., Path]:
    """A recipe file on the tiny corpus, with sections replaced by keyword: ``tiny(objective="{name: mlm}")``."""

    def write(**sections: str) -> Path:
        lines = [line for line in TINY.replace("PATH", str(tiny_text)).splitlines() if line]
        for name, value in sections.items():
            start = next((i for i, line in enumerate(lines) if line.startswith(f"{name}:")), len(lines))
            stop = start + 1
            while stop < len(lines) and lines[stop].startswith(" "):
                stop += 1
            lines[start:stop] = [f"{name}: {value}"]
        path = tmp_path / "tiny.yaml"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def every_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quicker pieces that only large vocabularies have use for, at every size."""
    from ptk.models import vocabulary
    from ptk.quick import embedding

    monkeypatch.setattr(vocabulary, "LEAST", 1)
    monkeypatch.setattr(embedding, "LEAST", 1)


@pytest.fixture
def environment(_session_cache: Path) -> dict[str, str]:
    """For processes that a test starts."""
    return {**os.environ, "PTK_CACHE": str(_session_cache), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
