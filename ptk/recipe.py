"""The types of a recipe: everything a run depends on, frozen before work begins.

Plain dataclasses, so that whatever only uses settings (loader workers, a machine without pydantic)
imports nothing heavy; ``recipe_file.py`` reads them from YAML and checks them.
The docstring under a field is its documentation, in ``ptk recipes schema`` too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval, MinLen

Fraction = Annotated[float, Interval(ge=0, le=1)]
Count = Annotated[int, Ge(0)]
Positive = Annotated[int, Ge(1)]
Above = Annotated[float, Gt(0)]
Length = Annotated[int, Ge(8)]  # tokens: room for special tokens and some text
Beta = Annotated[float, Interval(ge=0, lt=1)]

# Read by pydantic from the class; unknown keys are errors at every depth.
STRICT = {"extra": "forbid", "use_attribute_docstrings": True, "allow_inf_nan": False}


@dataclass(frozen=True, kw_only=True)
class CorpusSource:
    """Where text comes from. A plain string in a recipe is ``path`` alone."""

    __pydantic_config__ = STRICT

    path: str
    """A file, folder or glob, ``python-docs``, or a dataset of the hub (``owner/name``)."""
    weight: Above = 1.0
    """How often rows of this source are seen, relative to its share of the text."""
    text: str | None = None
    """The column or key that holds the text; guessed and said when left out."""
    encoding: str | tuple[str, ...] | None = None
    """Encoding of the files, or several to try in order, file by file. UTF-8 when left out."""
    encoding_errors: Literal["strict", "replace", "skip"] = "strict"
    """Bytes that do not decode: an error, U+FFFD, or the line is dropped; the last two are counted."""
    split_documents: Literal["auto", "blank_line", "file", "line"] = "auto"
    """What ends a document of plain text: a blank line, the file's end, or every line's end."""
    config: str | None = None
    """The configuration of a hub dataset."""
    split: str = "train"
    """The split of a hub dataset."""


@dataclass(frozen=True, kw_only=True)
class TokenizerSpec:
    """Train a tokenizer (``kind``), or load one (``path``)."""

    __pydantic_config__ = STRICT

    kind: Literal["wordpiece", "bpe", "unigram", "char"] = "wordpiece"
    """What to train."""
    vocab_size: Positive = 8192
    """Entries, special tokens included."""
    lowercase: bool = False
    """Lowercase, and take accents off everything but Hangul."""
    path: str | None = None
    """A folder, a hub id, a SentencePiece ``.model`` or a ``vocab.txt`` to load instead."""
    special_tokens: tuple[str, ...] = ()
    """Special tokens to add, such as the mode tokens of UL2."""
    extend: Positive | None = None
    """Pieces to learn on this corpus and add to the tokenizer of ``path``; with ``init``, their embeddings start
    from the mean of the old pieces they consist of."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One stretch of training at one length: BERT's 90 % at 128, then 10 % at 512."""

    __pydantic_config__ = STRICT

    length: Length
    """Tokens of a row, specials included."""
    steps: Positive
    batch_size: Positive | None = None
    """Global, in sequences; ``train.batch_size`` when left out."""
    batch_tokens: Positive | None = None
    """Global, in tokens; ``train.batch_tokens`` when left out."""


@dataclass(frozen=True, kw_only=True)
class BatchRamp:
    """Small batches first, which grow linearly to ``train.batch_size`` (GPT-3, arXiv 2005.14165)."""

    __pydantic_config__ = STRICT

    start: Positive
    """Rows of the first batch; every batch has a whole multiple of it, ``train.batch_size`` too."""
    steps: Positive
    """Steps before the first full batch."""


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """How long, in what batches, and with which optimizer. Exactly one of steps, epochs, minutes, phases."""

    __pydantic_config__ = STRICT

    steps: Positive | None = None
    """Optimizer updates."""
    epochs: Above | None = None
    """Passes over the training rows."""
    minutes: Above | None = None
    """Wall-clock budget of the training itself; becomes steps after a measured warm-up."""
    phases: Annotated[tuple[Phase, ...], MinLen(1)] | None = None
    length: Length = 128
    """Tokens the encoder (or decoder-only model) sees, specials included."""
    batch_size: Positive | None = None
    """Global, in sequences; 32 when ``batch_tokens`` is left out too."""
    batch_tokens: Positive | None = None
    """Global, in tokens, instead of ``batch_size``."""
    batch_ramp: BatchRamp | None = None
    """Smaller batches at first: ``{start: 32, steps: 1000}``. Beside ``batch_size``, and ``steps`` or ``epochs``."""
    micro_batch_size: Positive | None = None
    """Sequences a device takes at once: speed and memory only, never the result."""
    micro_batch_tokens: Positive | None = None
    """The same in tokens (rows x longest row)."""
    length_window: Positive = 1
    """Batches of rows of nearly equal length, which need little padding: the rows of so many batches in a row are
    sorted by length before they are divided into those batches, whose order is then shuffled. 1: as they come.
    Faster, but each batch holds texts of one sort, and short runs learn less by it; micro-batches are sorted anyway."""
    auto_batch: bool = False
    """Find the largest ``micro_batch_size`` that fits into memory, before the first step."""
    optimizer: Literal["adamw", "muon", "bert_adamw", "lamb", "adamw_rms", "adafactor"] = "adamw"
    """``muon`` makes orthogonal steps for the matrices of layers (ptk/optim/muon.py) at AdamW's learning rates.
    ``bert_adamw`` has no bias correction (OPT-1); ``lamb`` is ALBERT's (OPT-6). ``adamw_rms`` (nanoT5's) and
    ``adafactor`` scale each tensor's step by its RMS; T5's (T5-7) is ``adafactor`` with ``lr`` 0.01, ``schedule``
    inverse_sqrt, ``warmup`` 10000 and ``weight_decay`` 0: 1 / sqrt(max(t, 10000))."""
    lr: Above = 1e-4
    head_lr: Above | None = None
    """Of the fresh head, where it is not ``lr``: a normal rate for the head, a small one below."""
    layer_decay: Annotated[float, Interval(gt=0, le=1)] = 1.0
    """Each layer's learning rate is that of the layer above times this, the embeddings' last (ELE-11)."""
    freeze: Count | None = None
    """Do not train the embeddings and so many of the lowest layers (0: the embeddings alone)."""
    unfreeze_every: Positive | None = None
    """Train the head alone at first, and from the top one layer more every so many steps."""
    weight_decay: Annotated[float, Ge(0)] = 0.01
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Of the moments; ``adafactor`` has no momentum and takes none, ``muon``'s own is 0.95."""
    eps: Above = 1e-6
    """Beside the root of the second moment; ``adafactor`` has its own."""
    schedule: Literal["linear", "cosine", "product", "wsd", "inverse_sqrt", "constant"] = "linear"
    """Of the learning rate after the warm-up; ``product`` (ELECTRA, GPT-1) falls from the first step on, times the
    warm-up (OPT-3)."""
    warmup: Annotated[float, Ge(0)] = 0.01
    """Steps, or below 1 a fraction of all steps."""
    final_lr: Fraction = 0.0
    """Where linear, cosine, product and wsd end, as a fraction of ``lr``."""
    decay: Fraction = 0.1
    """The last share of the steps, in which wsd decays."""
    clip: Annotated[float, Ge(0)] = 1.0
    """Global norm of the gradients; 0 for none."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    parallel: Literal["ddp", "fsdp", "deepspeed"] = "ddp"
    """What several processes share: only the work, or with ``fsdp`` (torch's ``fully_shard``) weights, gradients and
    moments too, with ``deepspeed`` (ZeRO 2) gradients and moments."""
    compile: bool = False
    fast: bool = True
    """On a CPU dropout, attention, embeddings and the loss over a vocabulary by quicker code of the same mathematics
    (ptk/quick), in memory that is kept from step to step; on any device GELU by tanh as one operation. False for
    torch's, transformers' and the system's own; ``ptk eval`` always has the quicker."""
    gradient_checkpointing: bool = False
    workers: Count | None = None
    """Processes that prepare batches; by default 2 beside an accelerator, none on a CPU."""
    log_every: Positive = 50
    eval_every: Positive | None = None
    """Steps between validations; 10 in a run by default."""
    save_every: Positive | None = None
    """Steps between checkpoints; as often as validation by default."""
    keep: Positive = 2
    """Checkpoints kept: the newest ones."""
    keep_best: bool = False
    """Keep the checkpoint of the lowest validation loss (of a task: of its best score) too, and make ``model/`` of it
    instead of the last one."""
    early_stopping: Positive | None = None
    """Stop after so many validations in a row without a better one than the best so far."""
    timeout: Above = 600.0
    """Seconds in which nothing moves, in any process, after which the run is given up as hung."""
    max_bad_steps: Positive = 3
    """Steps in a row whose gradients are not finite (no update is made) before the run stops."""


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """What to fine-tune on: a task by its name, or files of your own."""

    __pydantic_config__ = STRICT

    name: str | None = None
    """One of ``ptk finetune --task list``; left out for files of your own."""
    data: str | None = None
    """The folder or file of the task in its official layout, or a file of your own; sought when left out."""
    train: str | None = None
    """The file of that split, in place of the one the task's layout says; likewise ``validation`` and ``test``."""
    validation: str | None = None
    test: str | None = None
    kind: Literal["classification", "multi_label", "regression", "tagging", "multiple_choice", "answering"] | None = (
        None
    )
    """Of files of your own; guessed from them when left out, and said."""
    text: str | None = None
    """The column of the text (of tagging: of the words; of multiple choice: of what comes before), by its name, or of
    files without a header by its number, from 0."""
    pair: str | None = None
    """The column of a second text."""
    label: str | None = None
    """The column of the label, score, tag or right choice."""
    choices: tuple[str, ...] = ()
    """The columns of the choices."""
    labels: tuple[str, ...] = ()
    """The labels in the order of their ids; those of the files, in order, when left out."""
    no_answer: Literal["never", "null_span", "cls_head", "both"] | None = None
    """How a question without an answer is told: by the score of no span, a head of its own, or both (SQ-9); never, so
    that there always is one."""
    encoding: str | None = None
    """Of the files; UTF-8 when left out."""
    examples: Above | None = None
    """Train on so many examples only, below 1 on that share of them; drawn by ``seed``."""
    both_orders: bool = False
    """Train on each pair of texts in both orders, as ELECTRA does for MRPC and STS-B (ELE-12)."""
    held_out: Annotated[float, Interval(gt=0, lt=1)] = 0.1
    """Share of the training examples that is validated on where there is no validation file."""


@dataclass(frozen=True, kw_only=True)
class EvaluateSpec:
    """What is held out of the corpus, and how it is scored."""

    __pydantic_config__ = STRICT

    share: Annotated[float, Interval(gt=0, lt=1)] = 0.02
    """Of the text, held out by document hash; of a few long texts by blocks."""
    tail: Annotated[float, Interval(gt=0, lt=1)] | None = None
    """Hold out the last share of the text instead, as it lies in the corpus."""
    examples: Positive = 1000
    """Rows scored at most, the same ones each time, with the same masks."""
    mask_rate: Fraction = 0.15
    """Masks of validation, whatever the training rate (ENG-4)."""
    seed: Count = 0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole recipe, resolved."""

    __pydantic_config__ = STRICT

    name: str = "run"
    """Letters, digits, ``-``, ``_``, ``.``: names the run directory. The file's own name by default."""
    seed: Count = 42
    fidelity: Literal["fixed", "paper"] = "fixed"
    """``paper`` reproduces the known oddities of the original code; ``fixed`` does the sensible thing."""
    corpus: tuple[CorpusSource, ...] = ()
    """A path (relative to the current folder), glob, ``python-docs`` or hub dataset, or a list of sources."""
    tokenizer: TokenizerSpec = field(default_factory=TokenizerSpec)
    objective: Mapping[str, Any] = field(default_factory=dict)
    """``name`` (the word for the file in ptk/objectives) and that objective's own settings."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """``type`` and the settings of its configuration class in transformers."""
    task: TaskSpec | None = None
    """What to fine-tune on, instead of ``corpus``."""
    init: str | None = None
    """Weights to start from: a run, a model folder or a hub id."""
    from_scratch: bool = False
    """Of ``init`` take only the architecture (and of a task the tokenizer): draw the weights afresh, to compare."""
    train: TrainSpec = field(default_factory=TrainSpec)
    evaluate: EvaluateSpec = field(default_factory=EvaluateSpec)
    track: Literal["tensorboard", "wandb"] | None = None
