"""Questions whose answer is a part of a context: SQuAD 1.1 and 2.0, KorQuAD 1.0, and files in their format."""

from dataclasses import replace

from ptk.tasks.task import Columns, Hub, Task

COLUMNS = Columns(("question", "context"), "answers")
SPLITS = {"train": "train", "validation": "validation"}  # of the hub; nobody has the answers of the test sets

SQUAD = Task(
    name="squad",
    about="a part of a Wikipedia paragraph that answers the question (SQuAD 1.1)",
    kind="answering",
    columns=COLUMNS,
    metrics=("f1",),
    rule="squad",
    recipe="finetune/squad",
    folders=("squad", "squad1", "SQuAD1.1", "squad_v1.1"),
    format="squad",
    files={
        "train": ("train-v1.1.json", "train*.json"),
        "validation": ("dev-v1.1.json", "xquad.en.json", "dev*.json", "validation*.json"),
        "test": ("test-v1.1.json", "test*.json"),
    },
    hub=Hub("rajpurkar/squad", None, COLUMNS, SPLITS),
)

TASKS = (
    SQUAD,
    replace(
        SQUAD,
        name="squad2",
        about="a part of a Wikipedia paragraph that answers the question, or that there is none (SQuAD 2.0)",
        rule="squad2",
        recipe="finetune/squad2",
        folders=("squad2", "SQuAD2.0", "squad_v2", "squad"),
        files={
            "train": ("train-v2.0.json", "train*.json"),
            "validation": ("dev-v2.0.json", "dev*.json", "validation*.json"),
            "test": ("test-v2.0.json", "test*.json"),
        },
        hub=Hub("rajpurkar/squad_v2", None, COLUMNS, SPLITS),
    ),
    replace(
        SQUAD,
        name="korquad",
        about="a part of a paragraph of the Korean Wikipedia that answers the question (KorQuAD 1.0)",
        rule="korquad",
        recipe="finetune/korquad",
        folders=("korquad", "KorQuAD", "korquad1"),
        files={
            "train": ("KorQuAD_v1.0_train.json", "train*.json"),
            "validation": ("KorQuAD_v1.0_dev.json", "dev*.json", "validation*.json"),
            "test": ("test*.json",),
        },
        hub=Hub("KorQuAD/squad_kor_v1", None, COLUMNS, SPLITS),
    ),
)
