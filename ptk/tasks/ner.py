"""Named entities in English: CoNLL-2003 and sets in its columns. Labels are those of the files, in IOB2 (TAG-1, -3)."""

from ptk.tasks.task import Columns, Hub, Task

RECIPE = "finetune/ner"
LAST = Columns((0,), -1)  # the word is the first column, the tag the last
METRICS = ("entity_f1",)

TASKS = (
    Task(
        name="conll2003",
        about="people, places, organisations and others in Reuters news, or any files in CoNLL-2003's columns",
        kind="tagging",
        columns=LAST,
        metrics=METRICS,
        recipe=RECIPE,
        folders=("conll2003", "conll-2003", "conll03"),
        format="columns",
        files={
            "train": ("eng.train", "train.txt", "train.conll"),
            "validation": ("eng.testa", "valid.txt", "dev.txt", "dev.conll"),
            "test": ("eng.testb", "test.txt", "test.conll"),
        },
        hub=Hub("eriktks/conll2003", None, Columns(("tokens",), "ner_tags")),
    ),
    Task(
        name="wnut17",
        about="rare and new entities in tweets and comments (WNUT-17)",
        kind="tagging",
        columns=LAST,
        metrics=METRICS,
        recipe=RECIPE,
        folders=("wnut17", "wnut_17", "emerging_entities_17"),
        format="columns",
        files={
            "train": ("wnut17train.conll",),
            "validation": ("emerging.dev.conll",),
            "test": ("emerging.test.annotated",),
        },
        hub=Hub("leondz/wnut_17", None, Columns(("tokens",), "ner_tags")),
    ),
    Task(
        name="wikigold",
        about="entities in Wikipedia, one file, divided into train and validation",
        kind="tagging",
        columns=LAST,
        metrics=METRICS,
        recipe=RECIPE,
        folders=("wikigold",),
        format="columns",
        files={"train": ("wikigold.conll.txt", "CONLL-format/data/wikigold.conll.txt")},
    ),
    Task(
        name="sec",
        about="entities in contracts filed with the SEC",
        kind="tagging",
        columns=LAST,
        metrics=METRICS,
        recipe=RECIPE,
        folders=("sec", "SEC-filings"),
        format="columns",
        files={
            "train": ("FIN5.txt", "CONLL-format/data/train/FIN5.txt", "../train/FIN5.txt"),
            "test": ("FIN3.txt", "CONLL-format/data/test/FIN3.txt", "../test/FIN3.txt"),
        },
    ),
)
