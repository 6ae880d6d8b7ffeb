"""Tiny labelled files and models to start from, one of each kind of head: what tests of fine-tuning share."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

SUBJECTS = ("the cat", "a dog", "my friend", "the old king", "her sister", "one bird")
VERBS = ("sees", "finds", "likes", "follows", "forgets", "draws")
OBJECTS = ("a red house", "the river", "an apple", "the long road", "some stones", "two small boats")
SIZES = {"train": 120, "validation": 41, "test": 23}
# Kind of task and family of the model it starts from.
EVERY_HEAD = {
    "classification": ("classification", "bert"),
    "classification-decoder": ("classification", "gpt2"),
    "regression": ("regression", "albert"),
    "multi_label": ("multi_label", "electra"),
    "tagging": ("tagging", "bert"),
    "tagging-characters": ("characters", "bert"),
    "multiple_choice": ("multiple_choice", "bert"),
    "multiple_choice-decoder": ("multiple_choice", "gpt2"),
    "answering": ("answering", "bert"),
    "answering-decoder": ("answering", "gpt2"),
    "answering-joint": ("answering", "electra"),
}
OTHER_HEADS = {"answering-albert": ("answering", "albert"), "answering-t5": ("answering", "t5")}
"""Too much alike to go through every test."""
OBJECTIVES: dict[str, dict[str, Any]] = {
    "answering-joint": {"end": "joint", "no_answer": "both", "candidates": "context"},
}
COLUMNS = {
    "classification": {"kind": "classification", "text": "text", "pair": "other", "label": "label"},
    "regression": {"kind": "regression", "text": "text", "label": "label"},
    "multi_label": {"kind": "multi_label", "text": "text", "label": "label"},
    "tagging": {"kind": "tagging"},
    "characters": {"name": "klue-ner"},
    "multiple_choice": {"kind": "multiple_choice", "text": "text", "choices": ["a", "b", "c"], "label": "label"},
    "answering": {"name": "squad2"},
}
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
MODELS: dict[str, dict[str, Any]] = {
    "bert": {**TINY, "max_position_embeddings": 64},
    "albert": {**TINY, "max_position_embeddings": 64, "embedding_size": 16},
    "electra": {**TINY, "max_position_embeddings": 64, "embedding_size": 16},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2},
}
DROPOUTS = {
    "gpt2": ("resid_pdrop", "embd_pdrop", "attn_pdrop", "summary_first_dropout"),
    "albert": ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob"),
    "t5": ("dropout_rate",),
}
USUAL = ("hidden_dropout_prob", "attention_probs_dropout_prob")


def write_examples(kind: str, folder: Path) -> dict[str, str]:
    """Files of every split; the test file of tables has no labels. Returns split -> path."""
    rng = np.random.default_rng(3)
    found = {}
    for split, size in SIZES.items():
        if kind == "answering":
            path = folder / f"{split}-v2.0.json"
            path.write_text(json.dumps(questions(rng, size, split)), encoding="utf-8")
            found[split] = str(path)
            continue
        ending = "conll" if kind == "tagging" else "tsv" if kind == "characters" else "jsonl"
        path = folder / f"{split}.{ending}"
        path.write_text("".join(example(kind, rng, split) for _ in range(size)), encoding="utf-8")
        found[split] = str(path)
    return found


def example(kind: str, rng: np.random.Generator, split: str) -> str:
    who, what, whom = (int(n) for n in rng.integers(0, 6, 3))
    text = f"{SUBJECTS[who]} {VERBS[what]} {OBJECTS[whom]}."
    if kind == "tagging":
        words = [(word, "B-WHO" if i == 0 else "I-WHO") for i, word in enumerate(SUBJECTS[who].split())]
        words += [
            (VERBS[what], "O"),
            *((word, "B-WHAT" if i == 0 else "I-WHAT") for i, word in enumerate(OBJECTS[whom].split())),
        ]
        return "".join(f"{word} {tag}\n" for word, tag in words) + "\n"
    if kind == "characters":
        tags = ["B-PS" if i == 0 else "I-PS" for i in range(len(SUBJECTS[who]))]
        tags += ["O"] * (len(text) - len(tags))
        return "".join(f"{char}\t{tag}\n" for char, tag in zip(text, tags, strict=True)) + "\n"
    row: dict[str, Any] = {"text": text}
    if kind == "classification":
        row["other"] = f"{SUBJECTS[int(rng.integers(0, 6))]} {VERBS[what]}."
    if kind == "multiple_choice":
        row["text"] = f"{SUBJECTS[who]} {VERBS[what]}"
        right = int(rng.integers(0, 3))
        row |= {name: SUBJECTS[who] if i == right else OBJECTS[(whom + i) % 6] for i, name in enumerate("abc")}
    if split != "test":
        row["label"] = {
            "classification": ("early", "middle", "late")[who // 2],
            "regression": who + what / 10,
            "multi_label": [VERBS[what], OBJECTS[whom]],
            "multiple_choice": right if kind == "multiple_choice" else None,
        }[kind]
    return json.dumps(row) + "\n"


def questions(rng: np.random.Generator, size: int, split: str) -> dict[str, Any]:
    """An article a question: what one of three does; of a fourth of those asked for nothing is told."""
    articles = []
    for number in range(size):
        order = rng.permutation(6).tolist()
        told = [
            f"{SUBJECTS[n]} {VERBS[int(rng.integers(0, 6))]} {OBJECTS[int(rng.integers(0, 6))]}." for n in order[:3]
        ]
        asked, none = int(rng.integers(0, 3)), bool(rng.random() < 0.25)
        qa: dict[str, Any] = {"id": f"{split}-{number}", "question": f"{SUBJECTS[order[3 if none else asked]]} what"}
        if split != "test":
            start = sum(len(one) + 1 for one in told[:asked]) + len(SUBJECTS[order[asked]]) + 1
            text = told[asked][len(SUBJECTS[order[asked]]) + 1 : -1]
            answers = [] if none else [{"text": text, "answer_start": start}]
            qa |= {"answers": answers, "is_impossible": none}
        articles.append({"title": f"{split} {number}", "paragraphs": [{"context": " ".join(told), "qas": [qa]}]})
    return {"version": "v2.0", "data": articles}


def write_model(family: str, folder: Path, dropout: float) -> Path:
    """A model of random weights, without a head, and a tokenizer of the tiny text."""
    import torch
    from transformers import AutoConfig, AutoModel

    from ptk.data import tokenizer_training
    from ptk.recipe import TokenizerSpec

    texts = [f"{who} {what} {whom}." for who in SUBJECTS for what in VERBS for whom in OBJECTS]
    kind, size = {"gpt2": ("bpe", 300), "t5": ("unigram", 220)}.get(family, ("wordpiece", 120))
    tokenizer = tokenizer_training.train(TokenizerSpec(kind=kind, vocab_size=size), texts)
    tokenizer.save(folder)
    dropouts = dict.fromkeys(DROPOUTS.get(family, USUAL), dropout)
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, vocab_size=tokenizer.vocab_size, **MODELS[family], **dropouts)
    AutoModel.from_config(config).save_pretrained(folder)
    return folder


def write_recipe(name: str, folder: Path, dropout: float) -> Path:
    """A recipe that fine-tunes a tiny model on a tiny task, with all its files in ``folder``."""
    kind, family = (EVERY_HEAD | OTHER_HEADS)[name]
    files = write_examples(kind, folder)
    model = write_model(family, folder / f"{family}-{dropout}", dropout)
    train = {"steps": 8, "length": 32, "batch_size": 16, "lr": 1e-3, "log_every": 1, "precision": "fp32", "workers": 0}
    recipe = {
        "name": "tiny",
        "seed": 7,
        "task": {**COLUMNS[kind], **files},
        "init": str(model),
        "train": {**train, "length_window": 3},
    }
    if kind == "answering":
        recipe["objective"] = {"name": "question_answering", "stride": 8, **OBJECTIVES.get(name, {})}
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path
