"""GLUE's tasks (arXiv 1804.07461), in the layout of its official download, and from the hub (GLUE-1, -2, -3).

Labels have the names of the hub's dataset, so that heads transfer by name (FT-3): BERT's code counts MNLI's labels
otherwise.
"""

from typing import Any

from ptk.tasks.task import Columns, Hub, Task

RECIPE = "finetune/glue"
NLI = {"entailment": "entailment", "neutral": "neutral", "contradiction": "contradiction"}
ENTAILMENT = {"entailment": "entailment", "not_entailment": "not_entailment"}
FILES = {"train": ("train.tsv",), "validation": ("dev.tsv",), "test": ("test.tsv",)}
PAIR = ("sentence1", "sentence2")


def glue(name: str, about: str, folder: str, columns: Columns, prediction: str, **settings: Any) -> Task:
    """An entry; what most of the tasks share is a default."""
    hub_columns = settings.pop("hub_columns", columns)
    shared = {
        "kind": "classification",
        "metrics": ("accuracy",),
        "folders": (folder, name),
        "files": FILES,
        "predictions": {"test": f"{prediction}.tsv"},
        "hub": Hub("nyu-mll/glue", name, Columns(hub_columns.text, "label")),
    }
    return Task(name=name, about=about, columns=columns, recipe=RECIPE, **(shared | settings))


TASKS = (
    glue(
        "cola",
        "is the sentence acceptable English?",
        "CoLA",
        Columns(("sentence",), "label"),
        "CoLA",
        numbers=Columns((3,), 1),
        labels={"0": "unacceptable", "1": "acceptable"},
        metrics=("matthews",),
    ),
    glue(
        "sst2",
        "is the phrase of a film review positive?",
        "SST-2",
        Columns(("sentence",), "label"),
        "SST-2",
        labels={"0": "negative", "1": "positive"},
    ),
    glue(
        "mrpc",
        "do two sentences of the news mean the same?",
        "MRPC",
        Columns(("#1 String", "#2 String"), "Quality"),
        "MRPC",
        files=FILES | {"train": ("train.tsv", "msr_paraphrase_train.txt")},
        hub_columns=Columns(PAIR),
        labels={"0": "not_equivalent", "1": "equivalent"},
        metrics=("accuracy", "f1"),
        positive="equivalent",
    ),
    glue(
        "stsb",
        "how similar are two sentences, 0 to 5?",
        "STS-B",
        Columns(PAIR, "score"),
        "STS-B",
        kind="regression",
        metrics=("pearson", "spearman"),
    ),
    glue(
        "qqp",
        "do two questions of Quora mean the same?",
        "QQP",
        Columns(("question1", "question2"), "is_duplicate"),
        "QQP",
        labels={"0": "not_duplicate", "1": "duplicate"},
        metrics=("accuracy", "f1"),
        positive="duplicate",
        uneven="broken",
    ),
    glue(
        "mnli",
        "does the premise entail or contradict the hypothesis? matched and mismatched",
        "MNLI",
        Columns(PAIR, "gold_label"),
        "MNLI-m",
        files={
            "train": ("train.tsv",),
            "validation": ("dev_matched.tsv",),
            "validation_mismatched": ("dev_mismatched.tsv",),
            "test": ("test_matched.tsv",),
            "test_mismatched": ("test_mismatched.tsv",),
            "diagnostic": ("../diagnostic/diagnostic.tsv", "../AX/AX.tsv", "diagnostic.tsv"),
        },
        predictions={"test": "MNLI-m.tsv", "test_mismatched": "MNLI-mm.tsv", "diagnostic": "AX.tsv"},
        labels=NLI,
        hub=Hub(
            "nyu-mll/glue",
            "mnli",
            Columns(("premise", "hypothesis"), "label"),
            {
                "train": "train",
                "validation": "validation_matched",
                "validation_mismatched": "validation_mismatched",
                "test": "test_matched",
                "test_mismatched": "test_mismatched",
            },
        ),
    ),
    glue(
        "qnli",
        "does the sentence answer the question?",
        "QNLI",
        Columns(("question", "sentence"), "label"),
        "QNLI",
        labels=ENTAILMENT,
    ),
    glue(
        "rte",
        "does the first text entail the second?",
        "RTE",
        Columns(PAIR, "label"),
        "RTE",
        labels=ENTAILMENT,
    ),
    glue(
        "wnli",
        "does the sentence with the pronoun replaced follow? (Winograd; few beat its majority)",
        "WNLI",
        Columns(PAIR, "label"),
        "WNLI",
        labels={"0": "not_entailment", "1": "entailment"},
    ),
    glue(
        "ax",
        "GLUE's diagnostic set, for a model fine-tuned on mnli; it has no training examples",
        "diagnostic",
        Columns(PAIR, "gold_label"),
        "AX",
        folders=("diagnostic", "AX"),
        files={"test": ("diagnostic.tsv", "AX.tsv")},
        hub_columns=Columns(("premise", "hypothesis")),
        hub=Hub("nyu-mll/glue", "ax", Columns(("premise", "hypothesis"), "label"), {"test": "test"}),
        labels=NLI,
        metrics=("matthews",),
    ),
)
