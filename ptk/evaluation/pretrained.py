"""``ptk eval RUN_OR_MODEL [--data PATH]``: a pretrained model on held-out text, or on all of another text."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ptk import device, engine, files, quick, recipe_file
from ptk.data import corpus as corpora
from ptk.data import prepare
from ptk.data import tokenizer as tokenizers
from ptk.errors import RecipeError
from ptk.evaluation import held_out
from ptk.evaluation.samples import samples
from ptk.models import checks, electra, load
from ptk.objectives.objective import Objective
from ptk.pretraining import held_out_batches, held_out_rows
from ptk.progress import Talk
from ptk.recipe import CorpusSource, EvaluateSpec
from ptk.session import objective_of
from ptk.step import Wrapped

DEFAULT_LENGTH = 128


@dataclass(frozen=True)
class Subject:
    """What is scored: a model, and what it was trained to do."""

    name: str
    folder: str
    objective: Objective
    length: int
    corpus: tuple[CorpusSource, ...]
    evaluate: EvaluateSpec
    task: str
    precision: str = "auto"


def subject(name: str, data: str | None, trust_remote_code: bool = False) -> Subject:
    """A run says everything; of a bare model the objective follows from its class, and it needs ``--data``."""
    folder = load.folder_of(name)
    source = (CorpusSource(path=data),) if data else ()
    if (Path(name) / "recipe.yaml").exists():
        recipe = recipe_file.load(str(Path(name) / "recipe.yaml")).recipe
        length = recipe.train.phases[-1].length if recipe.train.phases else recipe.train.length
        corpus = source or recipe.corpus
        precision = "auto" if recipe.train.precision == "fp16" else recipe.train.precision
        objective, task = objective_of(recipe), recipe.objective["name"]
        return Subject(name, folder, objective, length, corpus, recipe.evaluate, task, precision)
    if not data:
        raise RecipeError(f"{name}: a model without its run has no held-out text; name some with --data PATH")
    task, objective = objective_from_config(folder, load.config(name, trust_remote_code))
    return Subject(name, folder, objective, DEFAULT_LENGTH, source, EvaluateSpec(), task)


def objective_from_config(folder: str, config: Any) -> tuple[str, Objective]:
    """Name and objective of a model folder or hub id, from the class it was saved as."""
    from ptk.objectives.causal_lm import CausalLanguageModelling
    from ptk.objectives.mlm import MaskedLanguageModelling
    from ptk.objectives.prefix_lm import PrefixLanguageModelling
    from ptk.objectives.rtd import ReplacedTokenDetection
    from ptk.objectives.span_corruption import SpanCorruption

    architecture = (config.architectures or [""])[0]
    if architecture.endswith("ForMaskedLM"):
        return "mlm", MaskedLanguageModelling(second_segment="none", fidelity="fixed")
    if architecture.endswith(("ForCausalLM", "LMHeadModel")):
        if getattr(config, "prefix_lm", False):
            return "prefix_lm", PrefixLanguageModelling(prefix_in="decoder", fidelity="fixed")
        return "causal_lm", CausalLanguageModelling(fidelity="fixed")
    if config.is_encoder_decoder and getattr(config, "continues", False):
        return "prefix_lm", PrefixLanguageModelling(fidelity="fixed")
    if architecture.endswith("ForConditionalGeneration") and len(tokenizers.load(folder).sentinel_ids):
        return "span_corruption", SpanCorruption(fidelity="fixed")
    if electra.is_whole(folder):
        return "rtd", ReplacedTokenDetection(fidelity="fixed")
    second = {"BertForPreTraining": "next", "AlbertForPreTraining": "order"}.get(architecture)
    if second is None:
        raise RecipeError(
            f"{folder}: {architecture or 'no class named'}: ptk eval cannot tell what it was pretrained to do; "
            f"name its run (of a discriminator: put its generator into its folder, as {electra.GENERATOR}/)"
        )
    return "mlm", MaskedLanguageModelling(second_segment=second, fidelity="fixed")  # type: ignore[arg-type]


def evaluate(
    name: str | None, data: str | None, out: Path | None, shown: int = 0, trust_remote_code: bool = False
) -> dict[str, Any]:
    """Score a model; ``results.json`` is left in ``out``, else in the run (held-out text) or under ``runs/``."""
    talk = Talk()
    name = name or load.newest()
    if name is None:
        raise RecipeError("no finished run under runs/; name a run, a model folder or a hub id")
    what = subject(name, data, trust_remote_code)
    precision = device.precision(what.precision, device.kind())
    accelerator = device.accelerator(precision)
    talk.say(f"{name}: {device.describe(precision)}")
    model: nn.Module = load.load(name, trust_remote_code).to(accelerator.device)
    corpus = corpora.open_corpus(what.corpus)
    tokenizer = tokenizers.load(what.folder)
    ready = prepare.Data(corpus, tokenizer, prepare.tokenized(corpus, tokenizer, talk))
    part = "all" if data else "validation"
    scored = what.objective.for_validation(what.evaluate.mask_rate)
    length = min(what.length, checks.positions_of(model) or what.length)
    sources = held_out_rows(what.objective, ready.store, what.evaluate, length, part)
    found = held_out_batches(scored, sources, tokenizer, what.evaluate.examples, accelerator)
    losses = engine.evaluate(Wrapped(scored, model, quick.pieces(accelerator.device)), found, accelerator, scored.score)
    results = {
        "task": what.task,
        "split": "text" if data else "validation",
        **held_out.scores(scored, losses, sources[0].documents),
        "baselines": held_out.baselines(scored, sources, found, accelerator),
        "data": [entry.path for entry in what.corpus],
        "model": name,
        "seed": what.evaluate.seed,
    }
    for source in sources if shown else ():
        for line in samples(source, model, tokenizer, shown, accelerator.device):
            talk.say(line)
    files.write_json((out or default_out(name, data)) / "results.json", results)
    return results


def default_out(name: str, data: str | None) -> Path:
    if (Path(name) / "recipe.yaml").exists() and data is None:
        return Path(name) / "evaluation"
    return Path("runs") / f"eval-{re.sub('[^A-Za-z0-9_.-]+', '-', name).strip('-.')}"
