"""Any case of the speed benches by its name: those of a training step together, each of the others by its own script.

    make bench                                    # C1 to C5, or the GPU's: speed.py says what is measured, and how
    make bench BENCH='--case C1a,C3a --rounds 1'  # some of them; other options are those of the script
    make bench BENCH='--case C8'                  # raw text to ids

By scripts of their own: C6 (fine-tuning commands), C7 and C7n (SQuAD, its n-best), C8 (text), C9 and C10 (batches,
start), C12 (the race to a loss). Peak memory (C11) is a column of every training step.
Exit code: the largest of the scripts'.
"""

import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

STEPS = "speed.py"
OTHERS = {
    "C6": ["command.py"],
    "C7": ["squad.py", "--only", "speed", "--tasks", "squad2", "--examples", "120"],
    "C7n": ["squad.py", "--only", "decode"],
    "C8": ["text.py"],
    "C9": ["start.py"],
    "C10": ["start.py"],
    "C12": ["learning.py", "--race"],
}


def scripts(names: str, more: list[str]) -> list[list[str]]:
    """The commands that measure the cases: those of a step first and in one run, no command twice."""
    steps = [name for name in names.split(",") if name not in OTHERS]
    commands = [[STEPS, "--case", ",".join(steps), *more]] if steps else []
    for name in names.split(","):
        if name in OTHERS and (command := [*OTHERS[name], *more]) not in commands:
            commands.append(command)
    return commands


def main() -> int:
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--case", default="all")
    options, more = parser.parse_known_args()
    folder = Path(__file__).parent
    codes = [
        subprocess.call([sys.executable, folder / script, *words]) for script, *words in scripts(options.case, more)
    ]
    return max(map(abs, codes))  # a script that a signal ended has a negative one


if __name__ == "__main__":
    sys.exit(main())
