"""Inference outside GLUE: SNLI and SciTail."""

from ptk.tasks.task import Columns, Hub, Task

RECIPE = "finetune/glue"
PAIR = Columns(("sentence1", "sentence2"), "gold_label")

TASKS = (
    Task(
        name="snli",
        about="does the caption entail or contradict the hypothesis?",
        kind="classification",
        columns=PAIR,
        metrics=("accuracy",),
        recipe=RECIPE,
        folders=("SNLI", "snli_1.0"),
        files={
            "train": ("snli_1.0_train.jsonl", "snli_1.0_train.txt", "train.tsv", "train.jsonl"),
            "validation": ("snli_1.0_dev.jsonl", "snli_1.0_dev.txt", "dev.tsv", "dev.jsonl"),
            "test": ("snli_1.0_test.jsonl", "snli_1.0_test.txt", "test.tsv", "test.jsonl"),
        },
        labels={"entailment": "entailment", "neutral": "neutral", "contradiction": "contradiction"},
        no_label=("-",),
        uneven="labels",
        hub=Hub("stanfordnlp/snli", "plain_text", Columns(("premise", "hypothesis"), "label")),
    ),
    Task(
        name="scitail",
        about="does the sentence entail the answer to an exam question?",
        kind="classification",
        columns=PAIR,
        numbers=Columns((0, 1), 2),
        metrics=("accuracy",),
        recipe=RECIPE,
        folders=("SciTail", "SciTailV1.1"),
        files={
            split: (
                f"tsv_format/scitail_1.0_{name}.tsv",
                f"scitail_1.0_{name}.tsv",
                f"snli_format/scitail_1.0_{name}.txt",
                f"scitail_1.0_{name}.txt",
            )
            for split, name in {"train": "train", "validation": "dev", "test": "test"}.items()
        },
        labels={"entails": "entailment", "neutral": "neutral", "entailment": "entailment"},
        hub=Hub("allenai/scitail", "snli_format", Columns(("sentence1", "sentence2"), "gold_label")),
    ),
)
