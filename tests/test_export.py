"""What a run leaves to use: each model loads with ptk uninstalled, gives equal logits and writes."""

import json
import subprocess
import sys
from functools import partial

import pytest
import torch
from conftest import sections_of
from running import QUIET

from ptk import recipe_file, training
from ptk.data import tokenizer as tokenizers
from ptk.errors import RecipeError
from ptk.models import load
from ptk.pretraining import pretrain
from ptk.run import Run

PLAIN = """
import json, sys
class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "ptk": raise ImportError("ptk is uninstalled")
for name in [n for n in sys.modules if n.startswith("ptk")]: del sys.modules[name]
sys.meta_path.insert(0, Gone())
import torch, transformers
for line in sys.argv[1:]:
    folder, auto = line.split("=")
    model = getattr(transformers, auto).from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    given = tokenizer("the cat sees a red house.", return_tensors="pt")
    more = {"decoder_input_ids": given["input_ids"][:, :5]} if model.config.is_encoder_decoder else {}
    with torch.no_grad(): logits = model(**given, **more).logits
    hot = {"max_new_tokens": 20, "do_sample": True, "temperature": 9.0}
    written = [model.generate(**given, **hot)[0].tolist() for _ in range(9)]
    print(json.dumps({"class": type(model).__name__, "ids": given["input_ids"][0].tolist(),
                      "logits": logits[0, :, :7].tolist(), "written": written}))
"""
KINDS = {
    "causal_lm": ("AutoModelForCausalLM", "GPT2LMHeadModel"),
    "prefix_lm-decoder": ("AutoModelForCausalLM", "GPT2LMHeadModel"),
    "span_corruption": ("AutoModelForSeq2SeqLM", "T5ForConditionalGeneration"),
    "mixture": ("AutoModelForSeq2SeqLM", "T5ForConditionalGeneration"),
    "untied": ("AutoModelForSeq2SeqLM", "T5ForConditionalGeneration"),
}


TEXT = torch.arange(5, 12)[None]


def logits_of(model: torch.nn.Module) -> torch.Tensor:
    more = {"decoder_input_ids": TEXT} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        return model.eval()(input_ids=TEXT, **more).logits


@pytest.fixture
def runs(tiny, tmp_path, monkeypatch):
    """A run of each kind; the logits of each model as it was when its training ended."""
    trained = {}
    monkeypatch.setattr(training, "finish", partial(keep_logits, trained, training.finish))
    for name in KINDS:
        sections = sections_of("span_corruption" if name == "untied" else name, 0.0)
        if name == "untied":  # T5 1.1, which transformers 5 would tie
            sections["model"] = sections["model"].replace("}", ", tie_word_embeddings: false}")
        recipe = recipe_file.load(str(tiny(**sections)), ["train.steps=2"]).recipe
        pretrain(recipe, tmp_path / name, talk=QUIET)
    return tmp_path, trained


def keep_logits(trained, finish, session, model, *rest):
    trained[session.run.folder.name] = logits_of(model)
    return finish(session, model, *rest)


def test_models_load_and_write_with_ptk_uninstalled(runs, environment):
    runs, trained = runs
    asked = [f"{runs / name / 'model'}={auto}" for name, (auto, _) in KINDS.items()]
    done = subprocess.run([sys.executable, "-c", PLAIN, *asked], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for (name, (auto, kind)), line in zip(KINDS.items(), done.stdout.splitlines(), strict=True):
        plain = json.loads(line)
        tokenizer = tokenizers.load(str(runs / name / "model"))
        ids = tokenizer.encode_batch(["the cat sees a red house."])[0].tolist()
        end = [tokenizer.eos_id] if auto == "AutoModelForSeq2SeqLM" else []  # as its rows had it
        assert (plain["class"], plain["ids"]) == (kind, [*ids, *end]), name
        model = load.load(str(runs / name))
        torch.testing.assert_close(logits_of(model), trained[name], rtol=0, atol=1e-5)
        batch = {"input_ids": torch.tensor([plain["ids"]])}
        if end:
            batch["decoder_input_ids"] = batch["input_ids"][:, :5]
        with torch.no_grad():
            logits = model(**batch).logits[0, :, :7]
        torch.testing.assert_close(torch.tensor(plain["logits"]), logits, rtol=0, atol=1e-5)
        assert model.config.vocab_size > tokenizer.vocab_size
        assert max(map(max, plain["written"])) < tokenizer.vocab_size, name  # never an entry that only rounds up
        card = (runs / name / "model" / "README.md").read_text()
        assert f"{auto}.from_pretrained(folder)" in card
        assert ("loaded plainly it is causal" in card) == (name == "prefix_lm-decoder")
        assert ("begins with the token" in card) == (auto == "AutoModelForCausalLM")
    untied = load.load(str(runs / "untied"))
    assert not torch.equal(untied.lm_head.weight, untied.shared.weight)
    tied = load.load(str(runs / "span_corruption"))
    assert tied.lm_head.weight is tied.shared.weight


def test_any_family_that_transformers_knows_trains_by_its_name(tiny, tmp_path):
    common = "hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 64"
    bart = "{type: bart, d_model: 32, encoder_layers: 1, decoder_layers: 1, encoder_attention_heads: 2, "
    bart += "decoder_attention_heads: 2, encoder_ffn_dim: 64, decoder_ffn_dim: 64, max_position_embeddings: 64}"
    families = {
        "llama": ("causal_lm-packed", f"{{type: llama, {common}}}", "LlamaForCausalLM"),
        "mistral": ("prefix_lm-decoder", f"{{type: mistral, num_key_value_heads: 1, {common}}}", "MistralForCausalLM"),
        "bart": ("span_corruption", bart, "BartForConditionalGeneration"),
        "gpt": ("causal_lm", "{type: openai-gpt, n_embd: 32, n_layer: 1, n_head: 2}", "OpenAIGPTLMHeadModel"),
    }
    for name, (objective, model, kind) in families.items():
        recipe = recipe_file.load(str(tiny(**{**sections_of(objective, 0.0), "model": model}))).recipe
        pretrain(recipe, tmp_path / name, talk=QUIET)
        losses = [line["loss"] for line in Run(tmp_path / name).metrics() if line["split"] == "train"]
        assert losses[-1] < losses[0]
        assert type(load.load(str(tmp_path / name))).__name__ == kind


@pytest.mark.parametrize("name", ["causal_lm", "span_corruption", "mlm-albert", "rtd"])
def test_init_goes_on_from_a_run(tiny, tmp_path, name):
    path = str(tiny(**sections_of(name, 0.0)))
    pretrain(recipe_file.load(path).recipe, tmp_path / "first", talk=QUIET)
    words = [f"init={tmp_path}/first", f"tokenizer.path={tmp_path}/first/model", "train.steps=1", "train.lr=1e-9"]
    pretrain(recipe_file.load(path, words).recipe, tmp_path / "second", talk=QUIET)
    one, two = (load.load(str(tmp_path / run)).state_dict() for run in ("first", "second"))
    for parameter in one:
        torch.testing.assert_close(one[parameter], two[parameter], rtol=0, atol=1e-6)
    if name == "causal_lm":
        with pytest.raises(RecipeError, match=r"train.length: 65 tokens do not fit the 64 positions"):
            pretrain(recipe_file.load(path, [*words, "train.length=65"]).recipe, tmp_path / "third", talk=QUIET)


def test_openai_gpt_has_no_gradient_checkpointing(tiny, tmp_path):
    sections = {**sections_of("causal_lm", 0.0), "model": "{type: openai-gpt, n_embd: 32, n_layer: 1, n_head: 2}"}
    recipe = recipe_file.load(str(tiny(**sections)), ["train.gradient_checkpointing=true"]).recipe
    with pytest.raises(RecipeError, match=r"train.gradient_checkpointing: OpenAIGPTLMHeadModel has none"):
        pretrain(recipe, tmp_path / "run", talk=QUIET)
