"""How deep in a model each weight stands, and what follows: its learning rate, when its training begins, if at all.

Depth 0 are the embeddings and what projects them, i + 1 is layer i, n + 1 what stands between the n-th layer and the
head (a pooler, a last norm), n + 2 the head (ELE-11). A decoder's layers stand above the encoder's. Layers that share
their weights have the depth of the highest of them.
"""

from typing import TYPE_CHECKING, Any

from torch import nn

from ptk.errors import RecipeError
from ptk.models.headed import backbone_of
from ptk.optim import Rate

if TYPE_CHECKING:
    from ptk.recipe import TrainSpec


def rates(model: nn.Module, spec: "TrainSpec", fidelity: str) -> dict[nn.Parameter, Rate]:
    """What each weight's learning rate is multiplied by, and the step from which it is not 0.

    ``layer_decay`` d: the head has 1, the n-th layer d, each one below d times that of the layer above, the embeddings
    d^(n+1); in ``fidelity: paper`` once more d for all but the head, as ELECTRA's code has it, if not its paper
    (ELE-11). ``head_lr`` is the head's own. ``unfreeze_every`` k: the head and what stands right under it train from
    the first step, the n-th layer from step k, the embeddings from step (n + 1) k on (ULMFiT, arXiv 1801.06146).
    """
    depth, layers = depths(model)
    found: dict[nn.Parameter, Rate] = {}
    for parameter, own in depth.items():
        below = layers + 1 - own + (fidelity == "paper")
        head = own == layers + 2
        scale = (spec.head_lr or spec.lr) / spec.lr if head else spec.layer_decay**below
        found[parameter] = Rate(scale, max(0, layers + 1 - own) * (spec.unfreeze_every or 0))
    return found


def freeze(model: nn.Module, layers: int) -> None:
    """Keep the embeddings and so many of the lowest layers from training. Raises RecipeError when there are fewer."""
    depth, count = depths(model)
    if layers > count:
        raise RecipeError(f"train.freeze: {layers} layers, and the model has {count}; give at most {count}")
    for parameter, own in depth.items():
        if own <= layers:
            parameter.requires_grad_(False)


def depths(model: Any) -> tuple[dict[nn.Parameter, int], int]:
    """The depth of every parameter, and the number of layers."""
    layer_of = layers_of(model.base_model)
    count = 1 + max(layer_of.values(), default=-1)
    found: dict[nn.Parameter, int] = {}
    below, backbone = 0, backbone_of(model)
    for name, module in model.base_model.named_modules(remove_duplicate=False):
        if module not in backbone:
            continue
        layer = layer_of.get(name)
        below = below if layer is None else layer + 1
        embeds = isinstance(module, nn.Embedding) or any("embed" in part for part in name.split("."))
        for parameter in module.parameters(recurse=False):
            if layer is not None:
                found[parameter] = max(layer + 1, found.get(parameter, 0))
            else:
                found.setdefault(parameter, 0 if embeds or not below else below + (below == count))
    for parameter in model.parameters():
        found.setdefault(parameter, count + 2)
    return found, count


def layers_of(backbone: nn.Module) -> dict[str, int]:
    """The layer of every module that is in one, by the module's name.

    Layers are the elements of the outermost lists of modules. Lists beside each other hold parts of the same layers
    (XLM); those of different modules, an encoder and a decoder, stand one on the other.
    """
    begins: dict[str, int] = {}  # the module that has the lists -> the number of its first layer
    found: dict[str, int] = {}
    count = 0
    for name, module in backbone.named_modules(remove_duplicate=False):
        if not isinstance(module, nn.ModuleList) or name in found or not len(module):
            continue
        holder = name.rpartition(".")[0]
        first = begins.setdefault(holder, count)
        count = max(count, first + len(module))
        for number, layer in enumerate(module):
            for inner, _ in layer.named_modules(prefix=f"{name}.{number}", remove_duplicate=False):
                found[inner] = first + number
    return found
