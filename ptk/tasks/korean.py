"""Korean tasks: KLUE (arXiv 2105.09680), KoBEST (arXiv 2204.04541), NSMC, question pairs, hate speech."""

from ptk.tasks.task import Columns, Hub, Task

CLASSIFICATION = "finetune/glue"
CHOICE = "finetune/swag"
TOPICS = ("IT과학", "경제", "사회", "생활문화", "세계", "스포츠", "정치")
ONE_OF_TWO = Columns(("sentence",), "Answer", ("1", "2"), start="question")
COPA_ON_THE_HUB = Columns(("premise",), "label", ("alternative_1", "alternative_2"), start="question")
CHOICES = tuple(f"choice{number}" for number in range(1, 5))
ENDINGS_ON_THE_HUB = Columns(("context",), "label", tuple(f"ending_{number}" for number in range(1, 5)))
TRAIN_AND_DEV = {"train": "train", "validation": "validation"}


def klue(name: str) -> dict[str, tuple[str, ...]]:
    """KLUE's files of a task; its test set is not public."""
    return {"train": (f"klue-{name}-v*_train.*",), "validation": (f"klue-{name}-v*_dev.*",)}


TASKS = (
    Task(
        name="klue-nli",
        about="does the premise entail or contradict the hypothesis? Korean (KLUE)",
        kind="classification",
        columns=Columns(("premise", "hypothesis"), "gold_label"),
        metrics=("accuracy",),
        recipe=CLASSIFICATION,
        folders=("klue-nli-v1.1", "klue-nli"),
        format="json",
        files=klue("nli"),
        labels={"entailment": "entailment", "neutral": "neutral", "contradiction": "contradiction"},
        hub=Hub("klue/klue", "nli", Columns(("premise", "hypothesis"), "label"), TRAIN_AND_DEV),
    ),
    Task(
        name="klue-sts",
        about="how similar are two sentences, 0 to 5? Korean (KLUE)",
        kind="regression",
        columns=Columns(("sentence1", "sentence2"), "labels.label"),
        metrics=("pearson", "f1_from_3"),
        recipe=CLASSIFICATION,
        folders=("klue-sts-v1.1", "klue-sts"),
        format="json",
        files=klue("sts"),
        hub=Hub("klue/klue", "sts", Columns(("sentence1", "sentence2"), "labels.label"), TRAIN_AND_DEV),
    ),
    Task(
        name="klue-tc",
        about="topic of a headline, 7 of them; Korean (KLUE, YNAT)",
        kind="classification",
        columns=Columns(("title",), "label"),
        metrics=("macro_f1",),
        recipe=CLASSIFICATION,
        folders=("ynat-v1.1", "klue-tc"),
        format="json",
        files={"train": ("ynat-v*_train.json",), "validation": ("ynat-v*_dev.json",)},
        labels={topic: topic for topic in TOPICS},
        hub=Hub("klue/klue", "ynat", Columns(("title",), "label"), TRAIN_AND_DEV),
    ),
    Task(
        name="klue-ner",
        about="people, places, organisations, dates, times and quantities, character by character; Korean (KLUE)",
        kind="tagging",
        columns=Columns((0,), 1),
        metrics=("entity_macro_f1", "character_macro_f1"),
        recipe="finetune/ner",
        folders=("klue-ner-v1.1", "klue-ner"),
        format="characters",
        files=klue("ner"),
        hub=Hub("klue/klue", "ner", Columns(("tokens",), "ner_tags"), TRAIN_AND_DEV),
    ),
    Task(
        name="nsmc",
        about="is the film review positive? Korean",
        kind="classification",
        columns=Columns(("document",), "label"),
        metrics=("accuracy",),
        recipe="finetune/nsmc",
        folders=("nsmc",),
        files={"train": ("ratings_train.txt",), "test": ("ratings_test.txt",)},
        labels={"0": "negative", "1": "positive"},
        hub=Hub("e9t/nsmc", None, Columns(("document",), "label"), {"train": "train", "test": "test"}),
    ),
    Task(
        name="question-pairs",
        about="do two questions mean the same? Korean (0 is the same, unlike qqp)",
        kind="classification",
        columns=Columns(("question1", "question2"), "is_duplicate"),
        metrics=("accuracy",),
        recipe=CLASSIFICATION,
        folders=("Question_pair", "question-pairs"),
        files={
            "train": ("train.txt", "kor_pair_train.csv"),
            "validation": ("validation.txt",),
            "test": ("test.txt", "kor_Pair_test.csv"),
        },
        labels={"0": "duplicate", "1": "not_duplicate"},
    ),
    Task(
        name="hate-speech",
        about="is the comment hateful, offensive or neither? Korean (task.label=bias: is it biased?)",
        kind="classification",
        columns=Columns(("comments",), "hate"),
        metrics=("macro_f1",),
        recipe="finetune/nsmc",
        folders=("korean-hate-speech", "hate-speech"),
        files={
            "train": ("train.tsv", "labeled/train.tsv"),
            "validation": ("dev.tsv", "labeled/dev.tsv"),
            "test": ("test.no_label.tsv", "../test.no_label.tsv"),
        },
        labels={"none": "none", "offensive": "offensive", "hate": "hate"},
    ),
    Task(
        name="kobest-copa",
        about="which is the cause, or the effect? 2 choices; Korean (KoBEST)",
        kind="multiple_choice",
        columns=ONE_OF_TWO,
        starts={"원인": "왜냐하면", "결과": "그래서"},
        metrics=("accuracy",),
        recipe=CHOICE,
        folders=("COPA", "kobest-copa"),
        files={"train": ("train.tsv",), "validation": ("dev.tsv",), "test": ("test.tsv",)},
        labels={"1": "0", "2": "1"},
        hub=Hub("skt/kobest_v1", "copa", COPA_ON_THE_HUB),
    ),
    Task(
        name="kobest-hellaswag",
        about="how does the scene go on? 4 endings; Korean (KoBEST)",
        kind="multiple_choice",
        columns=Columns(("context",), "label", CHOICES),
        metrics=("accuracy",),
        recipe=CHOICE,
        folders=("HellaSwag", "kobest-hellaswag"),
        files={"train": ("train.tsv",), "validation": ("dev.tsv",), "test": ("test.tsv",)},
        labels={str(number): str(number) for number in range(4)},
        hub=Hub("skt/kobest_v1", "hellaswag", ENDINGS_ON_THE_HUB),
    ),
)
