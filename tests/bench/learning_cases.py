"""Cases of ``tests/bench/learning.py``: what each budget recipe changes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
BASE, RATE, ALL = "published settings", "a rate for the budget", "all together"
ADAMW = ["train.optimizer=adamw", "train.lr=1e-3"]  # the rate is usual for it and models of this width
BERT_DROPOUT = ["model.hidden_dropout_prob=0.1", "model.attention_probs_dropout_prob=0.1"]
GPT_DROPOUT = [f"model.{name}=0.1" for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop")]
ADAFACTOR = ["train.optimizer=adafactor", "train.lr=1e-2", "train.schedule=inverse_sqrt", "train.warmup=10000"]
OTHER_SCHEDULES = {"three times the rate": ["train.lr=3e-3"], "the rate not decayed": ["train.schedule=constant"]}


def rates(*others: str) -> dict[str, list[str]]:
    """Other rates than the recipe's."""
    return {f"all, rate {rate}": [f"train.lr={rate}"] for rate in others}


def shapes(rows: int, length: int) -> dict[str, list[str]]:
    """Short rows first, small batches first, and large batches, of as many tokens in all as ``rows`` a step have."""
    halves = [(length // 2, 2 * rows), (length, rows)]
    phases = ", ".join(f"{{length: {long}, batch_size: {many}, steps: $half}}" for long, many in halves)
    return {
        "short rows first": [f"train.phases=[{phases}]"],
        "twice the rows a step": [f"train.batch_size={2 * rows}", "train.steps=$half"],
        "batch ramp": ["train.steps=$ramped", f"train.batch_ramp={{start: {rows // 4}, steps: $ramp}}"],
    }


@dataclass(frozen=True, kw_only=True)
class Case:
    """A budget recipe, and the words that take its changes away or make others.

    The published rate is so low for a few hundred steps that nothing else would show: every other change is measured
    over the base with a rate for the budget.
    """

    name: str
    measure: str
    """The loss that counts."""
    published_rate: list[str]
    """What puts the published optimizer's rate and schedule back."""
    published: Mapping[str, list[str]]
    """Change -> what puts the published setting back in its place. With an optimizer goes a rate that suits it."""
    tried: Mapping[str, list[str]]
    """Change that is not in the recipe -> what makes it, over the base with a rate for the budget."""
    over: Mapping[str, list[str]]
    """The same, over the recipe."""

    @property
    def recipe(self) -> Path:
        return RECIPES / f"{self.name}-budget.yaml"

    def named(self) -> list[str]:
        return [BASE, RATE, *self.published, *self.tried, ALL, *self.over]

    def words(self, change: str) -> list[str]:
        """Overrides of the recipe for the base, one change over it, or all of them. KeyError for an unknown change."""
        if change not in self.named():
            raise KeyError(f"{change}; of {self.name} there are {', '.join(self.named())}")
        if change == ALL or change in self.over:
            return self.over.get(change, [])
        kept = [words for name, words in self.published.items() if name != change]
        kept += [self.published_rate] if change == BASE else [self.tried.get(change, [])]
        # Of two words for one setting the later one counts.
        return list({word.partition("=")[0]: word for words in kept for word in words}.values())


# Gated units have three matrices for two: two thirds as wide they have as many numbers.
MODERN_BERT = "model={type: modernbert, hidden_size: 128, num_hidden_layers: 2, num_attention_heads: 2, "
MODERN_BERT += "intermediate_size: 341, max_position_embeddings: 64}"
LLAMA = "model={type: llama, hidden_size: 128, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 341, "
LLAMA += "max_position_embeddings: 128, tie_word_embeddings: true}"
CASES = {
    case.name: case
    for case in (
        Case(
            name="bert",
            measure="mlm",
            published_rate=["train.lr=1e-4", "train.warmup=0.01"],
            published={
                "no dropout": BERT_DROPOUT,
                "first weights for the width": ["model.initializer_range=0.02"],
                "mask rate 30 to 15 %": ["objective.mask_rate=0.15"],
                "Muon": ADAMW,
            },
            tried=OTHER_SCHEDULES | shapes(rows=32, length=64),
            over={
                **rates("1e-3", "4e-3"),
                "all, 4 layers": ["model.num_hidden_layers=4"],
                "all, pre-norm and gated (ModernBERT)": [MODERN_BERT],
            },
        ),
        Case(
            name="gpt",
            measure="clm",
            published_rate=["train.lr=2.5e-4", "train.schedule=cosine", "train.warmup=0.01"],
            published={"no dropout": GPT_DROPOUT, "Muon": ADAMW},
            tried=OTHER_SCHEDULES
            | {"first weights for the width": ["model.initializer_range=0.06"]}
            | shapes(rows=16, length=128),
            over={
                **rates("1e-3", "4e-3"),
                "all, 4 layers": ["model.n_layer=4"],
                "all, RMS norm and gated (Llama)": [LLAMA],
            },
        ),
        Case(
            name="t5",
            measure="span",
            published_rate=ADAFACTOR,
            published={
                "gated units": [
                    f"model.{word}" for word in ("feed_forward_proj=relu", "tie_word_embeddings=true", "d_ff=384")
                ],
                "no dropout": ["model.dropout_rate=0.1"],
                "AdamW by each tensor's RMS": ADAMW,
            },
            tried=OTHER_SCHEDULES | shapes(rows=32, length=64),
            over={
                **rates("2e-2", "8e-2"),
                "all, 4 layers": ["model.num_layers=4"],
                "all, Muon": ["train.optimizer=muon", "train.lr=2e-3"],
            },
        ),
    )
}


def what_costs(words: list[str]) -> frozenset[str]:
    """Those of a change's words that a step's time can depend on: not rate, schedule and first weights."""
    free = ("train.lr", "train.schedule", "train.warmup", "model.initializer_range")
    return frozenset(word for word in words if not word.startswith(free))


def says_steps(words: list[str]) -> bool:
    """Whether a change has steps of its own, as shares of its base's."""
    return any(word.startswith(("train.steps", "train.phases")) for word in words)


def for_steps(words: list[str], steps: int) -> list[str]:
    """The words of a change for as many steps, its base's where it has steps of its own: $half of them, or as many as a
    ramp from a quarter makes of the same rows, three quarters of the rows a step."""
    if not says_steps(words):
        return [*words, f"train.steps={steps}"]
    ramped = round(steps / 0.75)
    shares = {"half": max(1, steps // 2), "ramped": ramped, "ramp": max(1, ramped // 2)}
    return [Template(word).substitute(shares) for word in words]
