"""What a customer wants: BANKING77."""

from ptk.tasks.task import Columns, Hub, Task

TASKS = (
    Task(
        name="banking77",
        about="which of 77 things a customer of a bank wants",
        kind="classification",
        columns=Columns(("text",), "category"),
        metrics=("accuracy",),
        recipe="finetune/glue",
        folders=("banking77", "banking_data"),
        format="csv",
        files={"train": ("train.csv",), "test": ("test.csv",)},
        hub=Hub("PolyAI/banking77", None, Columns(("text",), "label"), {"train": "train", "test": "test"}),
    ),
)
