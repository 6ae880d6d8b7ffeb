"""Multiple choice: SWAG and those like it, COPA, RACE. The labels are the numbers of the choices, from 0 (MC-1)."""

from ptk.tasks.task import Columns, Hub, Task

RECIPE = "finetune/swag"
FOUR = {str(number): str(number) for number in range(4)}
ENDINGS = tuple(f"ending{number}" for number in range(4))

TASKS = (
    Task(
        name="swag",
        about="how does the scene go on? 4 endings",
        kind="multiple_choice",
        columns=Columns(("sent1",), "label", ENDINGS, start="sent2"),
        metrics=("accuracy",),
        recipe=RECIPE,
        folders=("swag",),
        format="csv",
        files={
            "train": ("train.csv", "data/train.csv"),
            "validation": ("val.csv", "data/val.csv"),
            "test": ("test.csv", "data/test.csv"),
        },
        labels=FOUR,
        hub=Hub("allenai/swag", "regular", Columns(("sent1",), "label", ENDINGS, start="sent2")),
    ),
    Task(
        name="hellaswag",
        about="how does the scene go on? 4 endings that a model wrote, hard to tell from the right one",
        kind="multiple_choice",
        columns=Columns(("ctx",), "label", ("endings",)),
        metrics=("accuracy",),
        recipe=RECIPE,
        folders=("hellaswag",),
        format="jsonl",
        files={
            "train": ("hellaswag_train.jsonl",),
            "validation": ("hellaswag_val.jsonl",),
            "test": ("hellaswag_test.jsonl",),
        },
        labels=FOUR,
        hub=Hub("Rowan/hellaswag", None, Columns(("ctx",), "label", ("endings",))),
    ),
    Task(
        name="codah",
        about="how does the sentence go on? 4 endings, written to deceive models",
        kind="multiple_choice",
        columns=Columns((1,), 6, (2, 3, 4, 5)),
        metrics=("accuracy",),
        recipe=RECIPE,
        folders=("codah",),
        files={
            "train": ("train.tsv", "cv_split/fold_0/train.tsv", "data/cv_split/fold_0/train.tsv", "full_data.tsv"),
            "validation": ("dev.tsv", "cv_split/fold_0/dev.tsv", "data/cv_split/fold_0/dev.tsv"),
            "test": ("test.tsv", "cv_split/fold_0/test.tsv", "data/cv_split/fold_0/test.tsv"),
        },
        labels=FOUR,
    ),
    Task(
        name="copa",
        about="which is the cause, or the effect? 2 choices (SuperGLUE's files)",
        kind="multiple_choice",
        columns=Columns(("premise",), "label", ("choice1", "choice2"), start="question"),
        starts={"cause": "because", "effect": "so"},
        metrics=("accuracy",),
        recipe=RECIPE,
        folders=("COPA",),
        format="jsonl",
        files={"train": ("train.jsonl",), "validation": ("val.jsonl",), "test": ("test.jsonl",)},
        labels={"0": "0", "1": "1"},
        hub=Hub("aps/super_glue", "copa", Columns(("premise",), "label", ("choice1", "choice2"), start="question")),
    ),
    Task(
        name="race",
        about="questions of English exams about a passage, 4 answers",
        kind="multiple_choice",
        columns=Columns(("article",), "answer", ("options",), start="question"),
        metrics=("accuracy",),
        recipe=RECIPE,
        folders=("RACE",),
        format="race",
        files={"train": ("train",), "validation": ("dev",), "test": ("test",)},
        labels={letter: str(number) for number, letter in enumerate("ABCD")},
    ),
)
