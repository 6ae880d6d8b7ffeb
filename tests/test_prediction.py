"""Continuations and spans from tiny models: the same tokens as loops written by hand, and nothing that is no text."""

import io
import json
import logging

import pytest
import torch
from transformers import AutoTokenizer as Auto
from transformers import (
    BertForPreTraining,
    BertModel,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    MarianMTModel,
    OpenAIGPTLMHeadModel,
    RobertaForMaskedLM,
    T5ForConditionalGeneration,
)
from transformers.utils import logging as transformers_logging
from typer.testing import CliRunner

from ptk.cli import app
from ptk.data import tokenizer_training
from ptk.errors import DataError, RecipeError
from ptk.prediction import lines, spans
from ptk.prediction.continuation import seen_at_once
from ptk.prediction.sampling import Sampling
from ptk.prediction.writer import Writer, around
from ptk.recipe import TokenizerSpec

TEXT = [
    "the quick brown fox jumps over the lazy dog.\n\tthe old king sees a red house near the river.",
    "고양이가 빨간 집을 봅니다. 강가에서 개가 집을 찾습니다.",
    "나의 친구는 오래된 길을 좋아합니다. 고양이가 강가에서 개를 봅니다.",
] * 20
SIZES = {"bpe": 330, "unigram": 215, "char": 120, "wordpiece": 150}
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "initializer_range": 0.3}


@pytest.fixture(scope="module")
def tokenizers():
    return {kind: tokenizer_training.train(TokenizerSpec(kind=kind, vocab_size=n), TEXT) for kind, n in SIZES.items()}


@pytest.fixture(scope="module")
def make(tokenizers, tmp_path_factory):
    """A folder with a random model of this class, its vocabulary rounded up to 64s, and ptk's tokenizer."""

    def made(family=GPT2LMHeadModel, kind="bpe", keys=None, change=None, **settings) -> str:
        tokenizer = tokenizers[kind]
        sizes = {GPT2LMHeadModel: GPT2, LlamaForCausalLM: SIZE | {"initializer_range": 0.3}}.get(family, {})
        ids = {f"{role}_token_id": getattr(tokenizer, f"{role}_id") for role in ("pad", "bos", "eos")}
        vocab = -(-tokenizer.vocab_size // 64) * 64
        torch.manual_seed(1)
        model = family(family.config_class(**{**sizes, **ids, "vocab_size": vocab, **settings}))
        for name, value in (keys or {}).items():
            setattr(model.config, name, value)
        if change:
            with torch.no_grad():
                change(model)
        folder = tmp_path_factory.mktemp("model")
        model.save_pretrained(folder)
        tokenizer.save(folder)
        return str(folder)

    return made


def t5(make, kind="unigram", **more) -> str:
    settings = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2, "dropout_rate": 0.0}
    return make(T5ForConditionalGeneration, kind, decoder_start_token_id=0, **settings, **more)


@pytest.fixture(scope="module")
def gpt(make) -> str:
    return make()


def predicted(folder: str, *texts: str, **options) -> list[str]:
    return list(lines.answers(folder, [f"{text}\n" for text in texts], options=options))


def asked(folder: str, text: str, **settings) -> dict:
    (answer,) = predicted(folder, json.dumps({"text": text, **settings}))
    return json.loads(answer)


def writer(folder: str) -> Writer:
    from ptk.models import load

    return Writer(load.load(folder), load.tokenizer(folder))


@torch.no_grad()
def argmax_loop(folder: str, ids: list[int], number: int, prefix: int = 0) -> list[int]:
    """Greedy, without a cache; the first ``prefix`` positions see each other."""
    w = writer(folder)
    new: list[int] = []
    for _ in range(number):
        row = torch.tensor([[*ids, *new]])
        mask = torch.full((1, 1, row.shape[1], row.shape[1]), float("-inf")).triu(1)
        mask[..., :prefix, :prefix] = 0
        logits = w.model(row, attention_mask=mask if prefix else torch.ones_like(row)).logits[0, -1]
        logits[sorted(w.silent)] = -torch.inf
        new.append(int(logits.argmax()))
        if new[-1] in w.ends:
            return new[:-1]
    return new


@pytest.mark.parametrize("kind", ["bpe", "unigram", "char"])
@pytest.mark.parametrize("family", [GPT2LMHeadModel, LlamaForCausalLM])
def test_greedy_is_the_argmax_after_each_token(make, tokenizers, family, kind):
    folder = make(family, kind)
    text = "the quick 고양이가 빨간"
    ids = tokenizers[kind].encode_batch([text])[0].tolist()  # without the </s> that T5's layout puts behind a text
    new = argmax_loop(folder, ids, 12)
    assert len(new) > 3
    answer = asked(folder, text, max_tokens=12)
    whole = tokenizers[kind].decode([*ids, *new], skip_special_tokens=True).rstrip("\ufffd")
    assert answer["text"] == whole
    assert text + answer["continuation"] == whole


def test_gpt1_writes_without_a_cache(make):
    folder = make(OpenAIGPTLMHeadModel, n_embd=32, n_layer=1, n_head=2, n_positions=64)
    ids = writer(folder).prompt("the king")
    assert asked(folder, "the king", max_tokens=5)["continuation"] == writer(folder).added(
        "the king", ids, argmax_loop(folder, ids, 5)
    )


def test_a_plain_line_gives_one_line_and_json_the_same_text_as_it_is(gpt, monkeypatch):
    new = Auto.from_pretrained(gpt)("\n\tend\x1b[0m\r.")["input_ids"]
    monkeypatch.setattr(
        GPT2LMHeadModel, "generate", lambda self, input_ids, **_: torch.tensor([input_ids[0].tolist() + new])
    )
    assert predicted(gpt, "the") == ["the\\n\tend[0m\\r."]  # an escape would command the terminal
    assert asked(gpt, "the") == {"text": "the\n\tend\x1b[0m\r.", "continuation": "\n\tend\x1b[0m\r."}


def test_sampling_is_a_function_of_seed_and_line(gpt):
    first = predicted(gpt, "the", "the", temperature=1.0)
    torch.rand(3)
    assert predicted(gpt, "the", "the", temperature=1.0) == first
    assert first[0] != first[1]  # another line, another draw
    assert predicted(gpt, "a fox", "the", temperature=1.0)[1] == first[1]  # whatever the lines before
    assert predicted(gpt, "the", temperature=1.0, seed=1)[0] != first[0]
    assert asked(gpt, "the", temperature=1, seed=0)["text"].startswith("the")


def test_one_candidate_is_greedy_and_few_are_drawn_from(gpt):
    greedy = asked(gpt, "the dog")
    assert asked(gpt, "the dog", temperature=5.0, top_k=1) == greedy
    assert asked(gpt, "the dog", temperature=5.0, top_p=1e-6) == greedy
    assert asked(gpt, "the dog", temperature=5.0) != greedy
    w = writer(gpt)
    ids = w.prompt("the dog")
    logits = w.model(torch.tensor([ids])).logits[0, -1].detach()
    logits[sorted(w.silent)] = -torch.inf
    best = set(logits.topk(3).indices.tolist())
    drawn = {w.write(ids, Sampling(temperature=5.0, top_k=3), n, 1)[0] for n in range(40)}
    assert drawn == best - set(w.ends)


def no_text(tokenizer) -> list[int]:
    """Ids behind the vocabulary, up to a multiple of 64, and every special token but the end of text."""
    padding = range(tokenizer.vocab_size, -(-tokenizer.vocab_size // 64) * 64)
    assert padding
    return [*padding, *(tokenizer.special_ids - {tokenizer.eos_id})]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_no_padding_of_the_vocabulary_and_no_special_token_comes_out(make, tokenizers, temperature):
    unreal = no_text(tokenizers["unigram"])

    def favour(model):
        model.lm_head.weight[unreal] *= 1000

    folder = make(LlamaForCausalLM, "unigram", change=favour, tie_word_embeddings=False)
    w = writer(folder)
    ids = w.prompt("the old king")
    assert set(w.model(torch.tensor([ids])).logits[0].argmax(-1).tolist()) <= set(unreal)
    drawn = {id_ for n in range(10) for id_ in w.write(ids, Sampling(temperature=temperature), n, 20)}
    assert drawn
    assert drawn.isdisjoint(unreal)
    assert drawn.isdisjoint(w.ends)


def test_the_end_of_text_stops_and_is_not_shown(make, tokenizers):
    end = tokenizers["bpe"].eos_id

    def stop(model):
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.fill_(1)
        model.lm_head.weight[end] = 9

    folder = make(change=stop)
    assert asked(folder, "the dog") == {"text": "the dog", "continuation": ""}
    assert predicted(folder, "the dog", "") == ["the dog", ""]


def test_korean_comes_back_whole(gpt, make):
    for text in ("고양이가 빨간 집을 봅니다.", "the 개 {"):
        (plain,) = predicted(gpt, text, max_tokens=1)
        assert plain.startswith(text)
    for tokens in range(1, 9):  # a syllable is up to three tokens of one byte each
        assert "\ufffd" not in asked(gpt, "고양이", max_tokens=tokens)["continuation"][-1:]
    (line,) = predicted(gpt, '{"text": "고양이가", "max_tokens": 3}')
    assert "고양이가" in line  # not \uXXXX
    folder = make(LlamaForCausalLM, "unigram")
    assert "  " not in asked(folder, "고양이가 ", max_tokens=6)["text"]  # its tokenizer drops the blank at the end


def test_documents_begin_with_the_token_that_training_put_there(make, tokenizers):
    end = tokenizers["bpe"].eos_id
    plain, started = make(), make(keys={"document_start_id": end})
    ids = tokenizers["bpe"].encode_batch(["the king"])[0].tolist()
    assert writer(plain).prompt("the king") == ids
    assert writer(started).prompt("the king") == [end, *ids]
    (answer,) = predicted(started, "the king", max_tokens=8)
    assert answer == "the king" + writer(started).added("", [], argmax_loop(started, [end, *ids], 8))
    # An empty text goes on from that token, with or without the key.
    assert predicted(started, "", max_tokens=4) == predicted(plain, "", max_tokens=4) != [""]
    assert around([7, 1, 2, 8], [1, 2]) == ([7], [8])
    assert around([1, 2, 2], [1, 2]) == ([], [2])
    assert around([7, 9], [1]) == ([], [])


def test_what_a_tokenizer_puts_around_a_text_stays_in_front_only(make, tokenizers):
    tokenizer = tokenizers["wordpiece"]
    ids = tokenizer.encode_batch(["the king"])[0].tolist()
    others, ours = (writer(make(LlamaForCausalLM, "wordpiece", keys=k)) for k in ({}, {"document_start_id": 3}))
    assert others.prompt("the king") == [tokenizer.cls_id, *ids]  # and no [SEP] behind
    assert ours.prompt("the king") == [tokenizer.sep_id, *ids]
    assert ours.prompt("[SEP]the king") == [tokenizer.sep_id, *ids]
    assert ours.ends == [tokenizer.sep_id]  # it stood between documents


def test_an_encoder_reads_to_an_end(make, tokenizers):
    for kind, keys in (
        ("unigram", {}),
        ("bpe", {}),
        ("unigram", {"continues": True}),
        ("wordpiece", {"continues": True}),
    ):
        tokenizer = tokenizers[kind]
        end = tokenizer.sep_id if kind == "wordpiece" else tokenizer.eos_id
        ids = tokenizer.encode_batch(["the king"])[0].tolist()
        assert writer(t5(make, kind, keys=keys)).prompt("the king", closed=True) == [*ids, end]


def test_an_empty_line_without_a_start_token_has_an_empty_answer(make):
    folder = make(LlamaForCausalLM, "wordpiece")
    assert predicted(folder, "", '{"text": ""}') == ["", '{"text": "", "continuation": ""}']


@pytest.mark.parametrize("family", [GPT2LMHeadModel, LlamaForCausalLM])
def test_a_prefix_model_sees_its_prompt_at_once(make, family):
    folder = make(family, keys={"prefix_lm": True})
    causal = make(family)
    w = writer(folder)
    text = "the old king sees"
    ids = w.prompt(text)
    row, mask = torch.tensor([ids]), torch.zeros(1, 1, len(ids), len(ids))
    with torch.no_grad():
        full = w.model(row, attention_mask=mask).logits[0, -1]
        cache = seen_at_once(w.model, ids)
        assert cache.get_seq_length() == len(ids) - 1
        mine = w.model(row[:, -1:], past_key_values=cache, position_ids=torch.tensor([[len(ids) - 1]])).logits[0, -1]
        one_way = w.model(row).logits[0, -1]
    torch.testing.assert_close(mine, full, atol=1e-5, rtol=1e-5)
    assert (one_way - full).abs().max() > 0.1
    new = argmax_loop(folder, ids, 10, prefix=len(ids))
    assert new != argmax_loop(folder, ids, 10)
    assert asked(folder, text, max_tokens=10)["continuation"] == w.added(text, ids, new)
    assert asked(causal, text, max_tokens=10)["continuation"] != w.added(text, ids, new)
    assert predicted(folder, "a", max_tokens=3, temperature=1.0)[0][0] == "a"  # a prompt of one token has no cache


def test_positions_bound_prompt_and_answer(gpt):
    ids = writer(gpt).prompt("the dog " * 6)
    assert len(ids) < 64
    message = f"stdin:1: {len(ids)} tokens of prompt and 64 new ones are more than the model's 64 positions"
    with pytest.raises(DataError, match=f"{message}; give a shorter prompt or max_tokens {64 - len(ids)} at most"):
        predicted(gpt, "the dog " * 6, max_tokens=64)
    with pytest.raises(DataError, match="64 positions"):
        predicted(gpt, "the dog " * 6, max_tokens=65 - len(ids))
    predicted(gpt, "the dog " * 6, max_tokens=64 - len(ids))
    predicted(gpt, "the dog " * 6)  # left out, it is as many as there is room for
    with pytest.raises(DataError, match=r"stdin:1: \d+ tokens of prompt .*; give a shorter prompt$"):
        predicted(gpt, "the dog " * 60)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "a", "max_token": 3}', 'unknown key "max_token"; known are text, max_tokens'),
        ('{"text": "a", "max_tokens": 0}', "max_tokens 0: give a whole number from 1"),
        ('{"text": "a", "max_tokens": "4"}', 'max_tokens "4": give a whole number'),
        ('{"text": "a", "top_k": true}', "top_k true: give a whole number from 1"),
        ('{"text": "a", "temperature": NaN}', r"temperature NaN: give 0 \(greedy\) or a number from 0.01"),
        ('{"text": "a", "top_p": 2, "temperature": 1}', "top_p 2: give a number above 0, at most 1"),
        ('{"text": "a", "top_k": 3}', r"top_k changes nothing at temperature 0 \(greedy\); add temperature 1"),
        ('{"text": 5}', '"text" is 5'),
        ('{"txt": "a"}', 'not JSON with a "text"'),
        ("{broken", 'not JSON with a "text"'),
    ],
)
def test_a_bad_json_line_is_named(gpt, line, message):
    with pytest.raises(DataError, match=f"^stdin:2: {message}"):
        predicted(gpt, "", line, max_tokens=2)


def test_keys_of_a_line_win_over_options(gpt):
    assert asked(gpt, "the") == json.loads(predicted(gpt, '{"text": "the", "temperature": 0}', temperature=2.0)[0])
    (short,) = predicted(gpt, '{"text": "the", "max_tokens": 2}', max_tokens=20)
    assert json.loads(short) == asked(gpt, "the", max_tokens=2)
    (long,) = predicted(gpt, '{"text": "the", "seed": 2}', max_tokens=20, temperature=1.0)  # the others stay
    assert json.loads(long) == asked(gpt, "the", seed=2, max_tokens=20, temperature=1.0)


def test_bad_options_are_named_as_they_were_typed(gpt):
    with pytest.raises(RecipeError, match=r"^--top-p 7: give a number above 0"):
        predicted(gpt, "a", top_p=7, temperature=1.0)
    with pytest.raises(RecipeError, match=r"^--top-k changes nothing at temperature 0 \(greedy\); add --temperature 1"):
        predicted(gpt, "a", top_k=7)
    with pytest.raises(RecipeError, match=r"^--max-tokens -1: "):
        predicted(gpt, "a", max_tokens=-1)


def test_published_settings_do_not_come_in_place_of_the_users(make):
    def published(model):
        model.generation_config.update(do_sample=True, temperature=5.0, top_k=7, max_length=8, num_beams=3)

    assert predicted(make(change=published), "the dog", max_tokens=20) == predicted(make(), "the dog", max_tokens=20)


def test_nothing_is_said_on_the_way(gpt, make, capfd, caplog):
    transformers_logging.warning_once.cache_clear()  # what other tests have heard already
    logging.getLogger("transformers").addHandler(caplog.handler)  # it passes nothing on to the root
    predicted(gpt, "the dog", '{"text": "the", "temperature": 0.5, "top_k": 4}', "", max_tokens=3)
    predicted(t5(make), "the <extra_id_0> dog", "the dog")
    w = writer(gpt)
    w.tokenizer.model_max_length = 2
    w.prompt("the dog is longer")
    logging.getLogger("transformers").removeHandler(caplog.handler)
    assert capfd.readouterr() == ("", "")
    assert [record.message for record in caplog.records] == []


# --- encoder-decoders -------------------------------------------------------------------------------------------


def test_spans_are_cut_out_at_their_marks():
    assert spans.spans([9, 5, 6, 8, 7], [9, 8]) == [[5, 6], [7]]
    assert spans.spans([3, 8, 7, 9, 5], [9, 8]) == [[5], [7]]  # in another order, after a word of no span
    assert spans.spans([9, 5, 9, 6], [9, 8]) == [[5], []]  # the first time counts; the second mark never came
    assert spans.spans([], [9]) == [[]]


def test_sentinels_count_up_from_zero():
    vocabulary = {"<extra_id_0>": 9, "<extra_id_1>": 8}
    assert spans.sentinels("a <extra_id_0> b <extra_id_1>", vocabulary) == ["<extra_id_0>", "<extra_id_1>"]
    assert spans.sentinels("a <extra_id_0>", {"a": 1}) == []
    for wrong in ("<extra_id_1>", "<extra_id_1> <extra_id_0>", "<extra_id_0> <extra_id_0>", "<extra_id_00>"):
        with pytest.raises(ValueError, match="count them up from <extra_id_0>, each once"):
            spans.sentinels(wrong, vocabulary)
    with pytest.raises(ValueError, match="3 sentinels, and the tokenizer has 2"):
        spans.sentinels("<extra_id_0> <extra_id_1> <extra_id_2>", vocabulary)


def fake(monkeypatch, folder_of_t5: str, target: str) -> list:
    """Let T5's ``generate`` give the ids of ``target``, and note its settings."""
    seen = []
    ids = Auto.from_pretrained(folder_of_t5)(target)["input_ids"]

    def generate(self, input_ids, generation_config, **_):
        seen.append(generation_config)
        return torch.tensor([[0, *ids]])

    monkeypatch.setattr(T5ForConditionalGeneration, "generate", generate)
    return seen


def test_spans_come_back_in_their_places(make, monkeypatch):
    folder = t5(make)
    text = "the quick <extra_id_0> jumps over<extra_id_1>. 고양이가 <extra_id_2> 봅니다."
    (settings,) = [fake(monkeypatch, folder, "<extra_id_0> brown fox <extra_id_1> the dog <extra_id_2>")]
    answer = asked(folder, text)
    assert answer["spans"] == ["brown fox", "the dog", ""]
    assert answer["text"] == "the quick brown fox jumps over the dog. 고양이가 <extra_id_2> 봅니다."
    assert predicted(folder, text) == [answer["text"]]
    vocabulary = Auto.from_pretrained(folder).get_vocab()
    marks = [vocabulary[f"<extra_id_{n}>"] for n in range(4)]
    assert marks[3] in settings[0].eos_token_id  # the next sentinel closes the last span
    assert {vocabulary["<extra_id_4>"], vocabulary["<pad>"]} <= set(settings[0].suppress_tokens)
    assert set(marks).isdisjoint(settings[0].suppress_tokens)
    many = " ".join(f"<extra_id_{n}> dog" for n in range(100))
    asked(folder, many)
    assert settings[-1].max_new_tokens >= 100 * 4
    asked(folder, text, max_tokens=7)
    assert settings[-1].max_new_tokens == 7


def test_wrong_sentinels_name_their_line(make):
    folder = t5(make)
    with pytest.raises(DataError, match=r"^stdin:2: sentinels <extra_id_1>: count them up"):
        predicted(folder, "", "the <extra_id_1> dog")
    with pytest.raises(DataError, match=r"^stdin:1: 101 sentinels, and the tokenizer has 100"):
        predicted(folder, " ".join(f"<extra_id_{n}>" for n in range(101)))


def test_a_trained_t5_fills_in_what_it_learned(make, tokenizers):
    tokenizer = tokenizers["unigram"]
    whole, part = "the <extra_id_0> fox jumps <extra_id_1> 고양이가 집을", "the <extra_id_0> fox"
    targets = ("<extra_id_0> quick brown <extra_id_1> over the dog", "<extra_id_0> old <extra_id_1> river")
    texts = tokenizer.encode_batch([whole, part, *targets], special_tokens=True)
    rows = [torch.tensor([[*ids.tolist(), tokenizer.eos_id]]) for ids in texts]

    def train(model):
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        with torch.enable_grad():
            for _ in range(120):
                optimizer.zero_grad()
                for source, target in zip(rows[:2], rows[2:], strict=True):
                    model(input_ids=source, labels=target).loss.backward()
                optimizer.step()

    first, second = predicted(t5(make, change=train), whole, json.dumps({"text": part}))
    assert first == "the quick brown fox jumps over the dog 고양이가 집을"
    # The model writes on from <extra_id_1>, which the text has not: that ends the span and the answer.
    assert json.loads(second) == {"text": "the old fox", "spans": ["old"]}


def test_without_a_sentinel_the_decoder_answers_or_continues(make, monkeypatch):
    alone, behind = t5(make), t5(make, keys={"continues": True})
    fake(monkeypatch, alone, "the dog")
    assert asked(alone, "고양이가") == {"text": "the dog"}
    assert predicted(alone, "고양이가", "", "  ") == ["the dog", "", ""]
    assert asked(behind, "고양이가") == {"text": "고양이가 the dog", "continuation": " the dog"}


def test_an_encoder_decoder_writes_no_special_token(make, tokenizers):
    unreal = no_text(tokenizers["unigram"])

    def favour(model):
        model.lm_head.weight[unreal] *= 1000

    folder = t5(make, change=favour, tie_word_embeddings=False)
    w = writer(folder)
    ids = w.prompt("the dog", closed=True)
    start = torch.tensor([[0]])
    assert w.model(torch.tensor([ids]), decoder_input_ids=start).logits[0, -1].argmax() in unreal
    drawn = {id_ for n in range(10) for id_ in w.write(ids, Sampling(temperature=100.0), n, 20)}
    assert len(drawn) > 5
    assert drawn.isdisjoint(unreal)


def test_a_translation_model_answers_within_its_positions(make):
    sizes = {"d_model": 32, "max_position_embeddings": 32}
    layers = {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in SMALL_MARIAN.items()}
    folder = make(MarianMTModel, "unigram", decoder_start_token_id=0, forced_eos_token_id=None, **sizes, **layers)
    assert set(asked(folder, "the dog")) == {"text"}
    with pytest.raises(DataError, match=r"stdin:1: \d+ tokens are more than the model's 32 positions; give a shorter"):
        predicted(folder, "the quick brown fox " * 20)
    with pytest.raises(DataError, match="stdin:1: 1 tokens of prompt and 40 new ones are more than the model's 32"):
        predicted(folder, "the dog", max_tokens=40)


SMALL_MARIAN = {"layers": 1, "attention_heads": 2, "ffn_dim": 64}


# --- which model does what --------------------------------------------------------------------------------------


def bert(make, family=BertForPreTraining) -> str:
    return make(family, "wordpiece", **SIZE, max_position_embeddings=64)


def test_bert_fills_masks_and_takes_no_settings_of_writing(make):
    folder = bert(make)
    filled, probability, empty, answer = predicted(
        folder, "the [MASK] dog", "the dog\tthe fox", "", '{"text": "a [MASK]"}'
    )
    assert filled.startswith("the")
    assert "[MASK]" not in filled
    assert 0 < float(probability) < 1
    assert empty == ""
    assert len(json.loads(answer)["masks"][0]) == 5
    with pytest.raises(
        RecipeError, match="BertForPreTraining fills masks and writes nothing; leave out --top-k, --seed"
    ):
        predicted(folder, "the [MASK]", top_k=3, seed=1)


def test_a_model_that_does_neither_is_refused(make):
    with pytest.raises(RecipeError, match="BertModel neither writes text nor fills masks; ptk"):
        predicted(bert(make, BertModel), "the [MASK]")


def test_input_that_is_no_utf8_is_named(gpt):
    with pytest.raises(DataError, match=r"^stdin:2: byte 3 is not UTF-8"):
        list(lines.answers(gpt, lines.decoded(io.BytesIO(b"the\nab\xff\n")), options={"max_tokens": 1}))


def test_options_of_the_command_reach_the_model(gpt):
    def run(*words: str):
        return CliRunner().invoke(app, ["predict", "--model", gpt, *words], input='the 개\n{"text": "a"}\n')

    sampled = run("--max-tokens", "9", "--temperature", "0.9", "--top-k", "9", "--top-p", "0.9", "--seed", "4")
    assert sampled.exit_code == 0
    options = {"max_tokens": 9, "temperature": 0.9, "top_k": 9, "top_p": 0.9, "seed": 4}
    assert sampled.stdout.splitlines() == predicted(gpt, "the 개", '{"text": "a"}', **options)
    assert run().stdout.splitlines() == predicted(gpt, "the 개", '{"text": "a"}')
    assert isinstance(run("--top-p", "0").exception, RecipeError)


def test_a_roberta_has_fewer_positions_than_its_table(make):
    """Its first one is the padding's: 19 of 20 are left."""
    folder = make(RobertaForMaskedLM, "wordpiece", **SIZE, max_position_embeddings=20)
    text = "[MASK]" + " the" * 16
    (answer,) = predicted(folder, text)
    assert answer.endswith(" the" * 16)
    with pytest.raises(DataError, match="20 tokens are more than the model's 19"):
        predicted(folder, text + " the")
