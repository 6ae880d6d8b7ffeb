"""Text by transformers' ``generate``, for any model that writes: what may come out, where it ends, text of its ids."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ptk.prediction.sampling import Sampling

if TYPE_CHECKING:
    from torch import nn

STARTS = ("bos_token_id", "eos_token_id", "decoder_start_token_id", "forced_bos_token_id")


@dataclass(frozen=True)
class Writer:
    """A model that generates, and its tokenizer.

    Of the generation settings published with a model only the ids that start and end a text are kept: the rest,
    a temperature for instance, would come in place of what the user asked for.
    """

    model: "nn.Module"
    tokenizer: Any

    def __post_init__(self) -> None:
        from transformers import GenerationConfig

        ids = {name: getattr(self.model.generation_config, name, None) for name in STARTS}
        self.model.generation_config = GenerationConfig(**ids)  # type: ignore[arg-type]

    @property
    def config(self) -> Any:
        return self.model.config

    @cached_property
    def special(self) -> frozenset[int]:
        added = self.tokenizer.added_tokens_decoder
        return frozenset([*self.tokenizer.all_special_ids, *(id_ for id_, token in added.items() if token.special)])

    @property
    def end(self) -> list[int]:
        """The token that ptk puts behind a document and between two (LM-1), in a list, or none."""
        ids = (self.tokenizer.eos_token_id, self.tokenizer.bos_token_id, getattr(self.tokenizer, "sep_token_id", None))
        return [id_ for id_ in ids if id_ is not None][:1]

    @cached_property
    def ends(self) -> list[int]:
        """Special tokens that end a text; a model may have several."""
        found = self.model.generation_config.eos_token_id  # type: ignore[union-attr]
        return sorted(self.special.intersection([*(found if isinstance(found, list) else [found]), *self.end]))

    @cached_property
    def silent(self) -> frozenset[int]:
        """Ids that never come out: special tokens but ends, and logits that are no entry of the vocabulary (ENG-5)."""
        ids = self.tokenizer.get_vocab().values()
        width = self.model.get_output_embeddings().weight.shape[0]  # type: ignore[operator]
        return (self.special | set(range(width)).difference(ids)) - set(self.ends)

    def prompt(self, text: str, closed: bool = False, mode: str = "prefix_mode_id") -> list[int]:
        """Ids of ``text`` as it began a row of training; ``closed``: with an end behind it, as encoders read it.

        ``mode``: the key of the configuration that says which mode token stood in front of it, if any did.

        What stands around a text is the tokenizer's affair, but ptk's decoders say by ``document_start_id`` what their
        documents began with, and its encoders of prefixes (``continues``) had nothing in front.
        """
        plain = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        front, back = around(self.tokenizer(text, verbose=False)["input_ids"], plain)
        start = getattr(self.config, "document_start_id", None)
        if start is not None:
            front = [] if plain[:1] == [start] else [start]
        elif getattr(self.config, "continues", False):
            front = []
        said = getattr(self.config, mode, None)
        modes = [] if said is None or plain[:1] == [said] else [said]
        return [*modes, *front, *plain, *((back or self.end) if closed else [])]

    def room(self, used: int, sampling: Sampling, default: int) -> int:
        """New tokens to write behind ``used`` ones: the user's number, or ``default`` as far as positions reach.

        Raises ValueError when the model has too few positions.
        """
        positions = getattr(self.config, "max_position_embeddings", None)
        if positions is None:  # relative positions
            return sampling.max_tokens or default
        wanted = sampling.max_tokens or min(default, max(1, positions - used))
        if used + wanted <= positions:
            return wanted
        fewer = f"or max_tokens {positions - used} at most" if used < positions else ""
        raise ValueError(
            f"{used:,} tokens of prompt and {wanted:,} new ones are more than the model's {positions:,} positions; "
            f"give a shorter prompt {fewer}".rstrip()
        )

    @torch.no_grad()
    def write(
        self,
        ids: Sequence[int],
        sampling: Sampling,
        number: int,
        max_tokens: int,
        allowed: Collection[int] = (),
        stop: int | None = None,
        **more: Any,
    ) -> list[int]:
        """Up to ``max_tokens`` new ids behind ``ids`` [T], or an encoder-decoder's answer to them; the end left out.

        ``number`` is the line's; special tokens come out where they are in ``allowed``; ``stop`` ends the text too.
        ``more`` goes to ``generate``.
        """
        ends = [*self.ends, *([] if stop is None else [stop])]
        settings = self.settings(sampling, max_tokens, self.silent.difference(allowed, ends), ends)
        seed = np.random.SeedSequence((sampling.seed, number)).generate_state(1, np.uint64)[0]
        torch.manual_seed(int(seed))
        prompt = torch.tensor([list(ids)], device=self.model.device)  # type: ignore[arg-type]
        output = self.model.generate(  # type: ignore[operator]
            input_ids=prompt, attention_mask=torch.ones_like(prompt), generation_config=settings, **more
        )[0].tolist()
        new = output[1 if self.config.is_encoder_decoder else len(ids) :]
        return next((new[:position] for position, id_ in enumerate(new) if id_ in ends), new)

    def settings(self, sampling: Sampling, max_tokens: int, silent: Collection[int], ends: list[int]) -> Any:
        from transformers import GenerationConfig

        samples = sampling.temperature > 0
        chosen = {
            "temperature": float(sampling.temperature),
            "top_k": sampling.top_k or 0,  # left out, it would be 50
            "top_p": float(sampling.top_p or 1),
        }
        return GenerationConfig(
            max_new_tokens=max_tokens,
            do_sample=samples,
            suppress_tokens=sorted(silent) or None,
            eos_token_id=ends or None,
            pad_token_id=ends[0] if ends else 0,  # one text at a time is never padded; unset, it is warned about
            **(chosen if samples else {}),  # type: ignore[arg-type]
        )

    def added(self, text: str, ids: Sequence[int], new: Sequence[int]) -> str:
        """What ``new`` puts behind ``text``, of which ``ids`` are the ids.

        A word comes with the blank in front of it, unless ``text`` ends in one that the tokenizer dropped. A letter of
        several bytes that the limit of tokens cut is left out.
        """
        head, whole = self.decode(ids), self.decode([*ids, *new])
        added = whole[len(head) :] if whole.startswith(head) else self.decode(new)
        if text[-1:].isspace() and not head[-1:].isspace():
            added = added.lstrip(" ")
        return added.rstrip("\ufffd")

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def around(own: list[int], plain: list[int]) -> tuple[list[int], list[int]]:
    """What a tokenizer puts before and behind a text: ``own`` ids are those with it, ``plain`` ids those without."""
    for start in range(len(own) - len(plain) + 1):
        end = start + len(plain)
        if own[start:end] == plain:
            return own[:start], own[end:]
    return [], []
