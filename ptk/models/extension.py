"""Rows of a model for the pieces that ``tokenizer.extend`` added: each starts from the mean of its old pieces.

The mean keeps what the model knows of the text (Gee et al., Fast Vocabulary Transfer, arXiv 2402.09977); fresh random
rows would first have to be learned, and disturb the others meanwhile.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import tokenizers
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from ptk.data.tokenizer import Tokenizer


@torch.no_grad()
def extend_embeddings(model: Any, tokenizer: "Tokenizer", size: int) -> None:
    """Give a model, in place, ``size`` rows, as many as an extended tokenizer wants; one that has more keeps them.

    A new piece's rows of the input embeddings [V, D], of the output [V, D] where that is untied, and of the output's
    bias [V] are the means of those of its old ids; of all old ids where it has none.
    """
    resize(model, max(model.config.vocab_size, size))
    old = min(tokenizer.grown)  # rows from here on only rounded the vocabulary up
    for table in tables(model):
        everything = table[:old].mean(dim=0)
        for new, ids in tokenizer.grown.items():
            table[new] = table[list(ids)].mean(dim=0) if ids else everything


def is_extended(folder: str, tokenizer: "Tokenizer") -> bool:
    """Whether the weights in ``folder`` were trained with the new pieces already: their rows stay as they are."""
    file = Path(folder) / "tokenizer.json"
    if not file.exists():
        return False
    beside = tokenizers.Tokenizer.from_file(str(file))
    return [beside.id_to_token(id_) for id_ in tokenizer.grown] == tokenizer.tokens(tokenizer.grown)


def tables(model: Any) -> list[Tensor]:
    """What has a row for every entry of the vocabulary, what is shared once."""
    output = model.get_output_embeddings()
    found = [model.get_input_embeddings().weight, *(output.parameters() if output is not None else ())]
    return list({id(table): table for table in found}.values())


def resize(model: Any, size: int) -> None:
    """``size`` rows; an output of its own stays one: T5's would be tied again (see ``build.untie``)."""
    output = model.get_output_embeddings()
    old = output.weight if output is not None else None
    tied = old is model.get_input_embeddings().weight
    model.resize_token_embeddings(size, mean_resizing=False)
    shared, output = model.get_input_embeddings().weight, model.get_output_embeddings()
    if old is not None and not tied and output.weight is shared:
        output.weight = nn.Parameter(shared.clone())
        output.weight[: len(old)] = old
