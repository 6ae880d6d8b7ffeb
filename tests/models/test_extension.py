"""Rows for new pieces: the means of their old ones, in every table, tied or not; and a run that goes on with them."""

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from conftest import GPT2
from running import QUIET, equal, logged, session, weights
from tokenizers import models

from ptk import recipe_file
from ptk.data import prepare
from ptk.data import tokenizer as tokenizers
from ptk.data.tokenizer import Tokenizer
from ptk.errors import RecipeError
from ptk.models import build
from ptk.models.extension import extend_embeddings
from ptk.pretraining import pretrain

OLD, ROWS = 60, 64  # entries of the old tokenizer, and rows of the old model
GROWN = {60: (1, 2, 3), 61: (), 62: (5,), 63: (5, 5, 8), 64: (59, 1), 65: (7, 0)}  # 63 and below: spare rows
SMALL: dict[str, Any] = {"vocab_size": ROWS, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SMALL |= {"intermediate_size": 32, "max_position_embeddings": 32}
T5: dict[str, Any] = {"vocab_size": ROWS, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
T5 |= {"decoder_start_token_id": 0}


def untied_t5() -> Any:
    model = transformers.T5ForConditionalGeneration(transformers.T5Config(**T5))
    build.untie(model)
    return model


MODELS: dict[str, Callable[[], Any]] = {
    "bert": lambda: transformers.BertForMaskedLM(transformers.BertConfig(**SMALL)),
    "bert-pretraining": lambda: transformers.BertForPreTraining(transformers.BertConfig(**SMALL)),
    "albert": lambda: transformers.AlbertForPreTraining(transformers.AlbertConfig(**SMALL, embedding_size=8)),
    "roberta": lambda: transformers.RobertaForMaskedLM(transformers.RobertaConfig(**SMALL)),
    "electra": lambda: transformers.ElectraForMaskedLM(transformers.ElectraConfig(**SMALL, embedding_size=8)),
    "electra-discriminator": lambda: transformers.ElectraForPreTraining(transformers.ElectraConfig(**SMALL)),
    "gpt2": lambda: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=ROWS, n_embd=16, n_layer=1, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=0
        )
    ),
    "t5": lambda: transformers.T5ForConditionalGeneration(transformers.T5Config(**T5)),
    "t5-untied": untied_t5,
    "neox": lambda: transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**SMALL)),
}
UNTIED = ("t5-untied", "neox")
every = pytest.mark.parametrize("name", MODELS)


def tokenizer_of(entries: int, grown: dict[int, tuple[int, ...]]) -> Tokenizer:
    import tokenizers as library

    vocabulary = {"[UNK]": 0, **{f"w{id_}": id_ for id_ in range(1, entries)}}
    made = library.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    return tokenizers.from_library(made, {"unk": "[UNK]"}, grown=grown)


def made(name: str) -> Any:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases too
            parameter.normal_(std=0.5)
    return model


def extended(name: str, size: int = 128) -> Any:
    model = made(name)
    extend_embeddings(model, tokenizer_of(66, GROWN), size)
    return model


def by_name(model: Any) -> dict[str, torch.Tensor]:
    """Every table that has a row an entry, those that are shared under each of their names."""
    output = model.get_output_embeddings()
    found = {"input": model.get_input_embeddings().weight}
    if output is not None:
        found |= {"output": output.weight, "bias": getattr(output, "bias", None)}
    return {key: table.detach() for key, table in found.items() if table is not None}


def test_bias_is_seen_where_there_is_one():
    biased = {name for name in MODELS if "bias" in by_name(made(name))}
    assert biased == {"bert", "bert-pretraining", "albert", "roberta", "electra"}


@every
def test_rows_are_means_of_old_rows_in_every_table(name):
    before, after = by_name(made(name)), by_name(extended(name))
    assert before.keys() == after.keys()
    for key, table in after.items():
        old = before[key]
        assert len(table) == 128
        torch.testing.assert_close(table[:OLD], old[:OLD], rtol=0, atol=0)
        expected = {
            60: (old[1] + old[2] + old[3]) / 3,
            61: old[:OLD].sum(0) / OLD,
            62: old[5],
            63: (2 * old[5] + old[8]) / 3,
            64: (old[59] + old[1]) / 2,
            65: (old[7] + old[0]) / 2,
        }
        for id_, row in expected.items():
            torch.testing.assert_close(table[id_], row)


@every
def test_what_is_tied_stays_tied_and_what_is_not_stays_apart(name):
    model = extended(name)
    output = model.get_output_embeddings()
    assert model.config.vocab_size == 128
    if output is not None:
        assert (output.weight is model.get_input_embeddings().weight) == (name not in UNTIED)
        assert output.weight.requires_grad
    assert sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in made(name).parameters()) == 64 * sum(
        table[0].numel() for key, table in by_name(model).items() if key != "output" or name in UNTIED
    )


def inputs(name: str) -> dict[str, torch.Tensor]:
    ids = torch.tensor([[3, 60, 61, 64, 65, 5]])
    return {"input_ids": ids, "decoder_input_ids": ids} if name.startswith("t5") else {"input_ids": ids}


@every
def test_saved_and_loaded_gives_equal_logits(name, tmp_path):
    model = extended(name)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs(name))[0], again(**inputs(name))[0], rtol=0, atol=1e-6)


@every
def test_a_model_with_rows_to_spare_keeps_its_size(name):
    model = made(name)
    extend_embeddings(model, tokenizer_of(62, {60: (1, 2, 3), 61: ()}), 64)
    before = by_name(made(name))
    for key, table in by_name(model).items():
        assert len(table) == 64
        torch.testing.assert_close(table[60], before[key][1:4].mean(0))
        torch.testing.assert_close(table[62:], before[key][62:], rtol=0, atol=0)
    output = model.get_output_embeddings()
    if output is not None:
        assert (output.weight is model.get_input_embeddings().weight) == (name not in UNTIED)


def test_a_model_with_more_rows_than_the_tokenizer_wants_keeps_them():
    model = made("bert")
    extend_embeddings(model, tokenizer_of(12, {10: (1, 2), 11: ()}), 16)
    assert {len(table) for table in by_name(model).values()} == {ROWS}


# --- a run that goes on in another language -----------------------------------------------------------------

KOREAN = """한국어 문장을 배운다.
토크나이저는 음절을 자모로 풀지 않는다.
언어 모델은 다음 낱말을 맞힌다.
고양이는 붉은 집을 본다.
개는 긴 길을 따라간다.
왕은 작은 배를 그린다.

"""


@pytest.fixture
def korean(tmp_path) -> str:
    path = tmp_path / "korean.txt"
    path.write_text(KOREAN * 30, encoding="utf-8")
    return f'corpus=[{{path: "{path}", split_documents: blank_line}}]'


BYTES = {
    "objective": "{name: causal_lm}",
    "model": GPT2.replace("DROP", "0.1"),
    "tokenizer": "{kind: bpe, vocab_size: 300}",
}


@pytest.mark.parametrize("sections", [{}, BYTES], ids=["bert", "gpt2"])
def test_a_run_goes_on_in_another_language_and_over_a_stop(tiny, tmp_path, korean, sections):
    english = tmp_path / "english"
    pretrain(recipe_file.load(str(tiny(**sections)), ["train.steps=3"]).recipe, english, talk=QUIET)
    more = [korean, f"init={english}", f"tokenizer.path={english}/model", "train.steps=4", "train.save_every=1"]
    more += ["train.keep=9", "tokenizer.extend=40"]
    recipe = recipe_file.load(str(tiny(**sections)), more).recipe
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    results = pretrain(recipe, whole, talk=QUIET)
    assert results["steps"] == 4
    old, new = (tokenizers.load(str(run / "model")) for run in (english, whole))
    assert new.vocab_size == old.vocab_size + 40
    assert len(next(iter(rows for name, rows in weights(whole).items() if "word_embed" in name or "wte" in name))) == (
        build.rounded(new.vocab_size)
    )
    shutil.copytree(whole, stopped)
    for step in (3, 4):
        shutil.rmtree(stopped / "checkpoints" / f"step-0000000{step}")
    shutil.rmtree(stopped / "model")
    pretrain(recipe, stopped, resume=True, talk=QUIET)
    assert equal(whole, stopped)
    assert logged(whole) == logged(stopped)


def test_new_pieces_start_from_old_ones_and_trained_ones_from_themselves(tiny, tmp_path, korean):
    english, first = tmp_path / "english", tmp_path / "first"
    pretrain(recipe_file.load(str(tiny()), ["train.steps=2"]).recipe, english, talk=QUIET)
    more = [korean, f"tokenizer.path={english}/model", "tokenizer.extend=40", "train.steps=2"]
    made = session(tiny(), *more, f"init={english}")
    model: Any = made.fresh_model()
    table = model.get_input_embeddings().weight.detach()
    before = weights(english)["bert.embeddings.word_embeddings.weight"]
    grown = made.data.tokenizer.grown
    assert len(grown) == 40
    torch.testing.assert_close(table[: min(grown)], before[: min(grown)], rtol=0, atol=0)
    for new, ids in grown.items():
        wanted = before[list(ids)] if ids else before[: min(grown)]
        torch.testing.assert_close(table[new], wanted.mean(0))
    recipe = recipe_file.load(str(tiny()), [*more, f"init={english}", "train.lr=1e-2"]).recipe
    pretrain(recipe, first, talk=QUIET)
    again: Any = session(tiny(), *more, f"init={first}").fresh_model()
    trained = weights(first)["bert.embeddings.word_embeddings.weight"]
    torch.testing.assert_close(again.get_input_embeddings().weight.detach(), trained, rtol=0, atol=0)
    assert not torch.equal(trained[list(grown)], table[list(grown)])


def test_bytes_need_no_extension(tiny, tmp_path, korean):
    english = tmp_path / "english"
    pretrain(recipe_file.load(str(tiny(**BYTES)), ["train.steps=1"]).recipe, english, talk=QUIET)
    more = [korean, f"init={english}", f"tokenizer.path={english}/model", "train.steps=1"]
    pretrain(recipe_file.load(str(tiny(**BYTES)), more).recipe, tmp_path / "more", talk=QUIET)
    one, two = (tokenizers.load(str(run / "model")) for run in (english, tmp_path / "more"))
    assert one.fingerprint == two.fingerprint


def test_weights_of_a_smaller_vocabulary_than_the_old_one_are_refused(tiny, tmp_path, korean):
    english = tmp_path / "english"
    pretrain(recipe_file.load(str(tiny()), ["train.steps=1"]).recipe, english, talk=QUIET)
    wide = recipe_file.load(str(tiny(tokenizer="{kind: wordpiece, vocab_size: 400}"))).recipe
    prepare.load_or_train(wide.tokenizer, prepare.corpora.open_corpus(wide.corpus), QUIET).save(tmp_path / "wide")
    more = [korean, f"init={english}", f"tokenizer.path={tmp_path}/wide", "tokenizer.extend=40"]
    with pytest.raises(RecipeError, match=r"init: .* has 128 entries, the tokenizer \d+; take its own tokenizer"):
        session(tiny(), *more).fresh_model()
