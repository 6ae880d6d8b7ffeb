"""``model/``: what a run leaves to use. Plain transformers loads it with ptk uninstalled."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment
from torch import nn
from transformers.utils import logging as transformers_logging

from ptk import __version__, faults, files
from ptk.models import headed, sharing
from ptk.recipe import Recipe

if TYPE_CHECKING:
    from ptk.data.frames import Around
    from ptk.data.tokenizer import Tokenizer

AUTO = {  # end of a class's name -> who loads it
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForTokenClassification": "AutoModelForTokenClassification",
    "ForMultipleChoice": "AutoModelForMultipleChoice",
    "ForQuestionAnswering": "AutoModelForQuestionAnswering",
    "Headed": "AutoModel",
    "Answering": "AutoModel",
    "ForMaskedLM": "AutoModelForMaskedLM",
    "LMHeadModel": "AutoModelForCausalLM",
    "ForCausalLM": "AutoModelForCausalLM",
    "ForConditionalGeneration": "AutoModelForSeq2SeqLM",
    "MTModel": "AutoModelForSeq2SeqLM",
}
CARD = """# {{ name }}

{{ made }} with ptk {{ version }} ({{ objective }}): {{ parameters }} parameters, {{ tokens }} tokens,
{{ steps }} steps.

| {{ scored_on }} | |
|---|---|
{% for metric, value in metrics -%}
| {{ metric }} | {{ value }} |
{% endfor %}
```python
from transformers import {{ auto }}, AutoTokenizer
model, tokenizer = {{ auto }}.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
{%- if start is not none %}
# Every document it has seen begins with the token {{ start }}: put it before a prompt, as ptk predict does.
{%- endif %}
```

{% for remark in remarks -%}
{{ remark }}
{% endfor -%}
{{ text }}.
Vocabulary: {{ vocab_size }} entries{% if padded != vocab_size %}, embeddings rounded up to {{ padded }}{% endif %}.
Fidelity: {{ fidelity }}{% if rules %}, which reproduces

{% for rule in rules -%}
- {{ rule }}
{% endfor %}{% else %} (the known oddities of the original code are mended).{% endif %}
"""


def export(folder: Path, model: nn.Module, tokenizer: "Tokenizer", around: "Around | None", card: str) -> None:
    """Write weights, configuration, tokenizer and card aside, then put them in place of an older export.

    ``around``: what the tokenizer puts around a text.
    """
    with files.disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = folder.with_name(f".{folder.name}-{os.getpid()}")
        files.remove_folder(aside)
        try:
            faults.at("export-begin")
            transformers_logging.disable_progress_bar()
            model.save_pretrained(aside, safe_serialization=True, state_dict=sharing.as_copies(model))  # type: ignore[operator]
            faults.at("export-weights")
            for config in aside.rglob("config.json"):  # ELECTRA's generator has a folder within
                tokenizer.save(config.parent, around=around)
            faults.at("export-tokenizer")
            (aside / "README.md").write_text(card, encoding="utf-8")
            for path in (aside, *aside.rglob("*")):
                files.flush(path)
            faults.at("export-card")
            files.remove_folder(folder)
            faults.at("export-removed")
            os.rename(aside, folder)
            faults.at("export-renamed")
            files.flush(folder.parent)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise


def card(
    model: nn.Module,
    tokenizer: "Tokenizer",
    recipe: Recipe,
    results: Mapping[str, Any],
    rules: list[str],
    remarks: list[str],
) -> str:
    """The model card. Its values are escaped: a corpus or a run may be named by anybody (S8)."""
    name = type(model).__name__
    made, scored_on = "Pretrained", "held-out text"
    text = f"Corpus: {', '.join(source.path for source in recipe.corpus)}"
    if recipe.task is not None:
        made, scored_on = f"Fine-tuned from {recipe.init}", f"{results['task']}, {results['split']}"
        text = learned(recipe, model.config)
    return (
        Environment(autoescape=True)
        .from_string(CARD)
        .render(
            name=recipe.name,
            version=__version__,
            objective=recipe.objective["name"],
            auto=next((auto for end, auto in AUTO.items() if name.endswith(end)), "AutoModelForPreTraining"),
            start=getattr(model.config, "document_start_id", None),
            parameters=f"{sum(p.numel() for p in model.parameters()):,}",
            tokens=f"{results['tokens']:,}",
            steps=f"{results['steps']:,}",
            metrics=[
                (metric, f"{value:,}" if isinstance(value, int) else f"{value:.4f}")
                for metric, value in results["metrics"].items()
            ],
            made=made,
            scored_on=scored_on,
            text=text,
            vocab_size=tokenizer.vocab_size,
            padded=model.config.vocab_size,  # type: ignore[union-attr]
            fidelity=recipe.fidelity,
            rules=rules,
            remarks=[*remarks, *sharing.remarks(model), *headed.remarks(model)],
        )
    )


def learned(recipe: Recipe, config: Any) -> str:
    """What a fine-tuned head says: labels, a number, or answers and when there is none (ENG-6)."""
    if recipe.objective["name"] != "question_answering":
        return f"Labels: {', '.join(recipe.objective['labels']) or 'a number'}"
    threshold = getattr(config, "ptk_threshold", None)
    none = (
        "" if threshold is None else f"; no answer ({recipe.objective['no_answer']}) above a threshold of {threshold:g}"
    )
    return f"Answers: parts of the context{none}"
