"""A backbone of transformers with a head of one linear layer, for families of which transformers has no such class.

Multiple choice for GPT and T5, tagging for OpenAIGPT and BART, ELECTRA's own classifier (ELE-12). ``model/`` holds the
backbone, which AutoModel loads, and beside it ``head.safetensors``, a matrix [L, D] and a bias [L]. A head of more
layers (answering.py) is kept in the same way.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

HEAD = "head.safetensors"
DROPOUT = 0.1  # before the head (FT-1, ELE-12), where the configuration does not say
DROPOUT_NAMES = ("classifier_dropout", "hidden_dropout_prob", "resid_pdrop", "dropout_rate", "dropout")
OWN = ("ptk_head", "ptk_end", "ptk_impossible")  # what a configuration says of a head of ptk's own


class Headed(nn.Module):
    """Dropout and a linear layer over the backbone's last hidden states.

    Of tags at every position. Else at the one that has read the whole row: an encoder's first, a decoder's last that is
    no padding; an encoder-decoder's decoder reads the row once more, as its class for sequences does in transformers.
    """

    supports_gradient_checkpointing = True
    base_model_prefix = "backbone"

    def __init__(self, backbone: Any, kind: str, outputs: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.kind = kind
        if getattr(backbone, "pooler", None) is not None:
            backbone.pooler = None  # nothing would train it
        if isinstance(backbone, encoder_class(backbone.config) or ()):
            backbone.config.is_encoder_decoder = False  # T5's encoder says so, UMT5's does not
        rates = (getattr(backbone.config, name, None) for name in DROPOUT_NAMES)
        self.dropout = nn.Dropout(next((rate for rate in rates if isinstance(rate, float | int)), DROPOUT))
        self.head: Any = self.new_head(outputs)
        for layer in self.head.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=getattr(backbone.config, "initializer_range", 0.02))
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        vars(backbone.config)["ptk_head"] = kind

    def new_head(self, outputs: int) -> nn.Module:
        return nn.Linear(self.config.hidden_size, outputs)

    @property
    def config(self) -> Any:
        return self.backbone.config

    @property
    def base_model(self) -> Any:
        return self.backbone

    def get_input_embeddings(self) -> nn.Module:
        return self.backbone.get_input_embeddings()

    def activation_checkpointing_enable(self, settings: Mapping[str, Any]) -> None:
        from ptk.models import checks

        checks.checkpoint_activations(self.backbone, settings)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **more: Tensor) -> Any:
        """input_ids [B, T], of choices [B, C, T] -> ``logits`` [B, L], [B, T, L] or [B, C]."""
        from transformers.modeling_outputs import SequenceClassifierOutput

        rows = {"input_ids": input_ids, "attention_mask": attention_mask, **more}
        flat = {name: array.flatten(0, -2) for name, array in rows.items() if array is not None}
        hidden = self.hidden(flat)
        if self.kind != "token_classification":
            place = self.place(flat["input_ids"], flat.get("attention_mask"))
            hidden = hidden[torch.arange(len(hidden), device=hidden.device), place]
        logits = self.head(self.dropout(hidden))
        return SequenceClassifierOutput(logits=logits.view(input_ids.shape[:-1]) if input_ids.dim() == 3 else logits)

    def hidden(self, inputs: dict[str, Tensor]) -> Tensor:
        """The last hidden states, [B, T, D]."""
        more: dict[str, Any] = {}
        if self.config.is_encoder_decoder:
            start = torch.full_like(inputs["input_ids"][:, :1], self.config.decoder_start_token_id)
            more["decoder_input_ids"] = torch.cat([start, inputs["input_ids"][:, :-1]], 1)
        if getattr(self.config, "use_cache", False) and (self.config.is_encoder_decoder or reads_forward(self.config)):
            more["use_cache"] = False
        return self.backbone(**inputs, **more).last_hidden_state

    def place(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """The position of each row that has read all of it, [B]."""
        if not reads_forward(self.config):
            return torch.zeros_like(ids[:, 0])
        mask = torch.ones_like(ids) if mask is None else mask
        return (torch.arange(ids.shape[1], device=ids.device) * mask).argmax(-1)

    def save_pretrained(self, folder: str | Path, **settings: Any) -> None:
        """The backbone as transformers saves it, and the head beside it."""
        from safetensors.torch import save_file

        self.backbone.save_pretrained(folder, **settings)
        save_file({name: weight.contiguous() for name, weight in self.head.state_dict().items()}, Path(folder) / HEAD)

    def load_head(self, folder: str | Path) -> list[str]:
        """Read the head that ``save_pretrained`` left. Returns the names of its parameters."""
        from safetensors.torch import load_file

        self.head.load_state_dict(load_file(Path(folder) / HEAD))
        return [f"head.{name}" for name, _ in self.head.named_parameters()]


def backbone_class(kind: str, config: Any) -> Any:
    """transformers' class of a head's backbone; of T5 that is asked questions its encoder alone, which reads a whole
    row at every position, for less than half of the work."""
    from transformers import AutoModel, AutoModelForTextEncoding

    return AutoModelForTextEncoding if kind == "question_answering" and encoder_class(config) else AutoModel


def encoder_class(config: Any) -> Any:
    """transformers' class of the encoder of an encoder-decoder; None where it has none, and for other models."""
    import transformers

    if type(config) not in transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING:
        return None
    return transformers.MODEL_FOR_TEXT_ENCODING_MAPPING.get(type(config), None)


def over(backbone: Any, kind: str, outputs: int) -> Headed:
    """The head of a kind over a backbone; the configuration says what else it has to know."""
    from ptk.models.answering import Answering

    return Answering(backbone) if kind == "question_answering" else Headed(backbone, kind, outputs)


def remarks(model: Any) -> list[str]:
    """What the model card says of a head that transformers does not know."""
    if not isinstance(model, Headed):
        return []
    loads = "AutoModel" if encoder_class(model.config) is None else type(model.backbone).__name__
    return [f"{loads} loads its backbone; the head, {model.kind}, is in {HEAD}, which ptk predict and ptk eval read."]


def is_headed(folder: str | Path) -> bool:
    """Whether a model's folder holds a head beside its backbone."""
    return (Path(folder) / HEAD).exists()


def load(folder: str | Path, **settings: Any) -> Headed:
    """Backbone and head of a folder that ``save_pretrained`` left."""
    import transformers
    from safetensors import safe_open

    config: Any = transformers.AutoConfig.from_pretrained(folder, **settings)
    of_whom = getattr(transformers, (config.architectures or ["AutoModel"])[0], transformers.AutoModel)
    backbone: Any = of_whom.from_pretrained(folder, **settings)
    kind, outputs = backbone.config.ptk_head, 0
    if kind != "question_answering":
        with safe_open(Path(folder) / HEAD, "pt") as file:
            outputs = file.get_slice("weight").get_shape()[0]
    model = over(backbone, kind, outputs)
    model.load_head(folder)
    return model.to(backbone.dtype)


def backbone_of(model: Any) -> set[nn.Module]:
    """The modules below the head: all of ``base_model``, which of T5's class for questions is the model itself."""
    found = set(model.base_model.modules())
    return found - {model, *model.qa_outputs.modules()} if model.base_model is model else found


def reads_forward(config: Any) -> bool:
    """Whether a position has seen only those before it: a decoder's, an encoder-decoder's."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    only_next = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING
    return config.is_encoder_decoder or only_next
