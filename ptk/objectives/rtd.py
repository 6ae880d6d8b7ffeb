"""Replaced token detection: a small generator fills masks, a discriminator says of every token whether it is the
original (ELECTRA, arXiv 2003.10555).

Both are trained at once, with their losses summed; nothing flows back through the samples. ``encode`` draws positions
and one uniform number for each, from which the generator's softmax makes a token on whatever device it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Interval

from ptk.corruption import following, masking
from ptk.errors import RecipeError
from ptk.metrics import Mean, auc
from ptk.objectives.objective import IGNORE, Batch, Example, Objective, Row, Table
from ptk.objectives.segments import labels_of, lay_out, shown, special_ids
from ptk.recipe import STRICT, Above, Fraction, Positive

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ptk.data.split import Documents
    from ptk.data.tokenizer import Tokenizer

Share = Annotated[float, Interval(gt=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class ReplacedTokenDetection(Objective):
    """The ``objective:`` section of ``name: rtd``. ``model:`` is the discriminator."""

    __pydantic_config__ = STRICT

    mask_rate: Fraction = 0.15
    """Share of the positions that the generator predicts, specials counted (ELE-2); 0.25 of large models."""
    max_predictions: Positive | None = None
    """Most positions of one row: (mask_rate + 0.005) x train.length when left out, 19 at 128 (ELE-2)."""
    masked: Fraction = 0.85
    """Of the chosen positions, how many become [MASK]; the rest stays, and is replaced all the same (ELE-4, ELE-5)."""
    generator_size: Share = 0.25
    """Width of the generator, as a share of the discriminator's; 1/3 of base models (ELE-8)."""
    generator_layers: Share = 1.0
    """Layers of the generator, as a share of the discriminator's."""
    generator_weight: Above = 1.0
    """Of the generator's loss ..."""
    rtd_weight: Above = 50.0
    """... and of the discriminator's (ELE-7)."""
    temperature: Above = 1.0
    """Of sampling from the generator (ELE-6)."""
    disallow_correct: bool = False
    """Never sample the original token (ELE-6)."""
    short_rows: Fraction = 0.05
    """Share of the rows that aim at a random, shorter length (ELE-1)."""
    single_segments: Fraction = 0.1
    """Share of the rows that have one segment (ELE-1)."""
    fidelity: Literal["fixed", "paper"] | None = None
    """``paper`` for the oddities ELE-1 and ELE-3; the recipe's ``fidelity`` when left out."""

    rows_depend_on: ClassVar[tuple[str, ...]] = ("short_rows", "single_segments", "fidelity")
    padding: ClassVar[Mapping[str, int]] = {"masked_labels": IGNORE}
    around: ClassVar[Literal["segments"]] = "segments"
    perplexity: ClassVar[str] = "pseudo_perplexity"
    leaves_out: ClassVar[str] = "ends of rows, beyond train.length (ELE-1)"
    legend: ClassVar[str] = (
        "piece=label is sampled anew by the generator, which sees it as [MASK] or as it is; "
        "the second segment has another colour"
    )

    @property
    def weights(self) -> Mapping[str, float]:  # type: ignore[override]
        return {"generator": self.generator_weight, "rtd": self.rtd_weight}

    def at(self, length: int, progress: float) -> "ReplacedTokenDetection":
        """With the most positions that rows of this length have."""
        most = self.max_predictions or masking.most_positions(length, self.mask_rate)
        return replace(self, max_predictions=most)

    def rows(self, documents: "Documents", block: range, length: int, rng: np.random.Generator) -> Table:
        texts = (documents.boundaries(piece) for piece in block)
        found, cut_off = following.following_segments(
            texts, length, rng, self.fidelity or "fixed", self.short_rows, self.single_segments
        )
        offsets = np.cumsum([0, *map(len, found)])
        return Table(offsets, np.array([span for row in found for span in row], np.int64).reshape(-1, 3), {}, cut_off)

    def check(self, documents: "Documents", tokenizer: "Tokenizer", length: int, held_out: bool) -> None:
        special_ids(tokenizer)

    def encode(self, row: Row, tokenizer: "Tokenizer", rng: np.random.Generator) -> Example:
        """input_ids (the generator's), token_type_ids [T]; masked_positions, masked_labels, uniform [K]."""
        cls, sep, mask = special_ids(tokenizer)
        parts = [[s for s, mark in zip(row.segments, row.marks, strict=True) if mark == nth] for nth in (0, 1)]
        layout = lay_out([np.concatenate(part) for part in parts if part], cls, sep)
        ids, candidates = layout.ids, layout.text[layout.ids[layout.text] != mask]  # ELE-2
        count = masking.mask_count(len(ids), self.mask_rate, self.max_predictions)
        if self.fidelity == "paper":
            positions = np.sort(rng.choice(candidates, count if len(candidates) else 0))  # ELE-3
        else:
            positions = masking.choose_tokens(candidates, count, rng)
        input_ids = ids.copy()
        input_ids[positions[rng.random(len(positions)) < self.masked]] = mask  # of one drawn twice either draw may
        return {
            "input_ids": input_ids,
            "token_type_ids": layout.token_type_ids,
            "masked_positions": positions,
            "masked_labels": ids[positions],
            "uniform": rng.random(len(positions), np.float32),
        }

    def model(self, settings: Mapping[str, Any], tokenizer: "Tokenizer", length: int) -> "nn.Module":
        """Both networks, sharing their embeddings. With ``init`` both go on from that run."""
        from ptk.models import build, electra, load

        paper = self.fidelity == "paper"
        kind = settings["type"] or (load.config(settings["init"]).model_type if settings.get("init") else None)
        if kind != "electra":
            raise RecipeError(f"model.type: rtd trains electra, not {kind}; set model.type=electra")
        if settings.get("tie_word_embeddings") is False:
            raise RecipeError("model.tie_word_embeddings: ELECTRA's networks share one table (ELE-8); leave it out")
        folder = load.folder_of(settings["init"]) if settings.get("init") else None
        if folder is not None and not electra.is_whole(folder):
            raise RecipeError(
                f"init: {folder} has no generator, and rtd trains one beside the discriminator; "
                f"give a folder that holds both, the generator's within it as {electra.GENERATOR}/, or a run of rtd"
            )
        discriminator = build.model("pretraining", settings, tokenizer, length, truncated_init=paper)
        own = self.generator_settings(settings, discriminator.config)
        own["init"] = f"{folder}/{electra.GENERATOR}" if folder else None
        generator = build.model("masked_lm", own, tokenizer, length, truncated_init=paper)
        vars(generator.config)["entries"] = tokenizer.vocab_size
        return electra.Electra(generator, discriminator)

    def generator_settings(self, settings: Mapping[str, Any], discriminator: Any) -> dict[str, Any]:
        """The discriminator's, with width, heads, feed-forward and layers of the generator (ELE-8)."""
        width = max(1, round(discriminator.hidden_size * self.generator_size))
        heads = max(1, width // 64)
        if width % heads:
            raise RecipeError(
                f"objective.generator_size: {self.generator_size:g} of {discriminator.hidden_size} is {width}, which "
                f"{heads} heads do not divide; use {(width - width % heads) / discriminator.hidden_size:g}"
            )
        return {
            **settings,
            "embedding_size": discriminator.embedding_size,
            "hidden_size": width,
            "num_attention_heads": heads,
            "intermediate_size": 4 * width,
            "num_hidden_layers": max(1, round(discriminator.num_hidden_layers * self.generator_layers)),
        }

    def kept(self, model: Any) -> list[str]:
        has, asked = model.generator.config, self.generator_settings({}, model.discriminator.config)
        names = {"hidden_size": "wide", "num_hidden_layers": "layers deep"}
        return [
            f"generator, {getattr(has, name)} {word} (not {asked[name]})"
            for name, word in names.items()
            if getattr(has, name) != asked[name]
        ]

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"generator": int((batch["masked_labels"] != IGNORE).sum()), "rtd": self.tokens(batch)}

    def loss(self, model: "nn.Module", batch: Batch) -> dict[str, Mean]:
        return self.both(model, batch)[0]

    def both(self, model: Any, batch: Batch) -> "tuple[dict[str, Mean], torch.Tensor, torch.Tensor, torch.Tensor]":
        """Losses; the discriminator's input, its logits, and what it has to say, [B, T] each (ELE-5 to ELE-7)."""
        from ptk.models import electra, vocabulary
        from ptk.models.labelled import forward_at
        from ptk.objectives.losses import detection, summed

        labels, positions = batch["masked_labels"], batch["masked_positions"]
        more = {name: batch[name] for name in ("attention_mask", "token_type_ids") if name in batch}
        scores, samples = vocabulary.scored_and_drawn(
            model.generator,
            labels,
            lambda: forward_at(model.generator, positions, input_ids=batch["input_ids"], **more),
            lambda logits, rows: self.samples(
                logits[:, : model.entries], labels.flatten()[rows], batch["uniform"].flatten()[rows]
            ),
        )
        valid = labels != IGNORE
        original = electra.written(batch["input_ids"], positions, labels, valid)
        corrupted = electra.written(original, positions, samples, valid)
        replaced = corrupted != original  # a sample that is right counts as original (ELE-6)
        answers = model.discriminator(input_ids=corrupted, **more).logits
        parts = summed("generator", scores, labels)
        return parts | detection("rtd", answers, replaced, more.get("attention_mask")), corrupted, answers, replaced

    def samples(self, logits: "torch.Tensor", labels: "torch.Tensor", uniform: "torch.Tensor") -> "torch.Tensor":
        """What the generator says, of logits [..., V], at the positions of labels [...]."""
        from ptk.models import electra

        if self.disallow_correct:
            logits = logits.scatter_add(
                -1, labels.clamp(min=0)[..., None], logits.new_full((*labels.shape, 1), -1000.0)
            )
        return electra.sampled(logits, uniform, self.temperature)

    def evaluate(self, model: "nn.Module", batch: Batch) -> "tuple[dict[str, Mean], dict[str, torch.Tensor]]":
        parts, _, answers, replaced = self.both(model, batch)
        real = batch["attention_mask"].bool() if "attention_mask" in batch else replaced.new_ones(replaced.shape)
        return parts, {"answers": answers[real].float(), "replaced": replaced[real]}

    def score(self, predictions: Mapping[str, np.ndarray]) -> dict[str, Mean]:
        """The area under the ROC curve of all real tokens (ELE-10)."""
        return {"rtd_auc": auc(predictions["answers"], predictions["replaced"])}

    def show(self, example: Example, tokenizer: "Tokenizer") -> tuple[str, list[tuple[str, str]]]:
        labels = labels_of(example)
        headline = f"{len(example['input_ids'])} tokens, {len(labels)} to sample"
        return headline, shown(example, labels, tokenizer)

    def answer(self, model: "nn.Module", batch: Batch, tokenizer: "Tokenizer") -> str:
        """The text that the discriminator reads, with what it takes for replaced, and what is."""
        _, corrupted, answers, replaced = self.both(model, batch)
        words = tokenizer.tokens(corrupted[0].tolist())
        for position, (said, true) in enumerate(zip((answers[0] > 0).tolist(), replaced[0].tolist(), strict=True)):
            if said or true:
                words[position] = (
                    f"[{words[position]}: {'replaced' if true else 'original'}, {'' if said == true else 'not '}seen]"
                )
        return " ".join(words).replace(" ##", "")

    def predicts(self, documents: "Documents") -> int:
        return int(documents.lengths().sum())

    def for_validation(self, mask_rate: float) -> "ReplacedTokenDetection":
        return replace(self, mask_rate=mask_rate, max_predictions=None)

    def notes(self, fidelity: str, model_type: str) -> list[str]:
        if fidelity != "paper":
            return []
        return [
            "ELE-1: the end of a row's last sentence is thrown away, and a segment may skip sentences of the other",
            "ELE-3: positions are drawn with replacement; one drawn twice counts twice, is masked if either "
            "draw says so, and reads the mean of both samples",
            "MLM-7: weights from a truncated normal distribution",
        ]

    def remarks(self) -> list[str]:
        return ["This is the discriminator; the generator, which fills masks, is in the folder generator."]


OBJECTIVE = ReplacedTokenDetection
