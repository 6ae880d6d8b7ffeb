"""Parts of speech: CoNLL-U files of Universal Dependencies, whatever the treebank."""

from dataclasses import replace

from ptk.tasks.task import Columns, Task

UD = Task(
    name="ud",
    about="universal parts of speech (UPOS) of a Universal Dependencies treebank",
    kind="tagging",
    columns=Columns(("FORM",), "UPOS"),
    metrics=("accuracy",),
    recipe="finetune/pos",
    format="conllu",
    files={"train": ("*-ud-train.conllu",), "validation": ("*-ud-dev.conllu",), "test": ("*-ud-test.conllu",)},
)

TASKS = (
    UD,
    replace(
        UD,
        name="ud-xpos",
        about="the language's own parts of speech (XPOS) of a Universal Dependencies treebank",
        columns=Columns(("FORM",), "XPOS"),
    ),
    replace(
        UD,
        name="ud-ko",
        about="universal parts of speech in Korean (UD Korean GSD or Kaist)",
        files={split: (patterns[0].replace("*", "ko_*"),) for split, patterns in UD.files.items()},
    ),
)
