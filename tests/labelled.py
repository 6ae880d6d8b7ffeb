"""Labelled examples for the tests of heads: a store written by hand, tokenizers, and every family in a tiny size."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ptk import files
from ptk.data import batches, tokenizer_training
from ptk.data.rows import RowSource, rows
from ptk.data.store import PARTS, Store
from ptk.data.tokenizer import Tokenizer
from ptk.recipe import EvaluateSpec, TokenizerSpec

TEXTS = ["the cat sees a red house. the dog likes it.", "my friend forgets the old river, and her sister"] * 50
KINDS = {"wordpiece": 120, "bpe": 300, "unigram": 200, "char": 60}

SIZE: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
SIZE["max_position_embeddings"] = 66
DISENTANGLED = {**SIZE, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "hidden_act": "gelu"}
DECODER = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 66}
BART = {"d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 66}
BART |= {f"{side}_{what}": 2 for side in ("encoder", "decoder") for what in ("layers", "attention_heads")}
FAMILIES: dict[str, dict[str, Any]] = {
    "albert": {**SIZE, "embedding_size": 16},
    "bart": BART,
    "bert": SIZE,
    "deberta": DISENTANGLED,
    "deberta-v2": DISENTANGLED,
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "max_position_embeddings": 66},
    "electra": {**SIZE, "embedding_size": 16},
    "gpt2": DECODER,
    "llama": {**SIZE, "num_key_value_heads": 2},
    "modernbert": {**SIZE, "local_attention": 8},
    "openai-gpt": DECODER,
    "roberta": SIZE,
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2},
}
KIND_OF = {"gpt2": "bpe", "llama": "bpe", "openai-gpt": "bpe", "t5": "unigram", "bart": "unigram"}


@functools.cache
def tokenizer(kind: str = "wordpiece") -> Tokenizer:
    return tokenizer_training.train(TokenizerSpec(kind=kind, vocab_size=KINDS[kind]), TEXTS)  # type: ignore[arg-type]


def settings(family: str, **more: Any) -> dict[str, Any]:
    return {"type": family, **FAMILIES[family], **more}


def ids(kind: str, *texts: str) -> list[np.ndarray]:
    return [found.astype(np.int64) for found in tokenizer(kind).encode_batch(texts)]


def store(folder: Path, examples: Sequence[Sequence[np.ndarray]], labels: np.ndarray) -> Store:
    """A store of examples, each a list of texts, which are ids already."""
    texts = [np.asarray(text) for example in examples for text in example]
    arrays = {
        "tokens": np.concatenate(texts),
        "sentences": np.cumsum([0, *map(len, texts)]),
        "sentence_bytes": [len(text) for text in texts],
        "documents": np.cumsum([0, *map(len, examples)]),
        "hashes": np.arange(len(examples)),
        "sources": np.zeros(len(examples)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", np.asarray(array, PARTS[name] or np.uint16))
    np.save(folder / "labels.npy", labels)
    files.write_json(folder / "manifest.json", {"vocab_size": 300, "fingerprint": folder.name})
    return Store(folder)


def encoded(objective: Any, made: Store, kind: str, length: int) -> list[dict[str, np.ndarray]]:
    """Every row of a store as ``encode`` leaves it."""
    table = rows(RowSource(made, objective, EvaluateSpec(), length, 0, "all"), 0)
    return [batches.encode(table, number, tokenizer(kind), 0) for number in range(len(table))]


def stacked(objective: Any, examples: Sequence[Any], kind: str) -> dict[str, torch.Tensor]:
    return batches.stack(examples, {"input_ids": tokenizer(kind).pad_id or 0, **objective.padding})


def overfitted(objective: Any, model: Any, batch: dict[str, torch.Tensor], steps: int, lr: float = 3e-3) -> float:
    """The loss of one batch after so many steps on it."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        objective.loss(model, batch)[objective.part].value.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        return float(objective.loss(model, batch)[objective.part].value)
