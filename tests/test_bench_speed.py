"""The training-speed bench compares equals: on tiny cases ptk and its peer have equal losses, step by step."""

import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "bench"))
import bench  # type: ignore[import-not-found]
import speed  # type: ignore[import-not-found]
import speed_cases  # type: ignore[import-not-found]
import speed_peer  # type: ignore[import-not-found]

from ptk import files
from ptk.recipe import CorpusSource

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
MODELS = {
    "C1b": TINY,
    "C3b": {"n_embd": 32, "n_layer": 2, "n_head": 2},
    "C4": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2},
    "C5a": {**TINY, "hidden_size": 64, "embedding_size": 16},
    "C5b": {**TINY, "embedding_size": 16},
}
STEPS = 3


def tiny_case(name: str, text: Path) -> speed_cases.Case:
    """The bench's case with a small model on the tiny corpus."""
    case = speed_cases.CASES[name]
    short = {"short_rows": 0.5} if name in ("C1b", "C5a", "C5b") else {}  # so that there is padding
    return replace(
        case,
        objective={**case.objective, **short},
        vocabulary=384,
        entries=384 if name == "C3b" else 260,
        model={**case.model, **MODELS[name]},
        rows=8,
        length=64,
        corpus=CorpusSource(path=str(text), split_documents="blank_line"),
    )


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")  # Lightning's own
@pytest.mark.parametrize("peer", ["trainer", "lightning", "simpletransformers"])
@pytest.mark.parametrize("name", MODELS)
def test_ptk_and_its_peers_have_equal_losses_at_equal_steps(name: str, peer: str, tiny_text: Path) -> None:
    if not speed_peer.is_there(peer):
        pytest.skip(f"{peer}: {speed_peer.LACKING[peer]}")
    case = tiny_case(name, tiny_text)
    if not speed_peer.can_run(peer, case):
        pytest.skip("another model than ptk's")
    ours, theirs = (speed.trained(one, case, STEPS, "fp32", dropout=False, compiled=False) for one in ("ptk", peer))
    assert len(ours.losses) == len(theirs.losses) == len(ours.ends) == len(theirs.ends) == STEPS
    assert speed.difference(ours.losses, theirs.losses) < 1e-5


def test_flops_are_counted_by_hand(tiny_text: Path) -> None:
    """ALBERT: two passes through one layer, its projection, its pooler, and the head where there is a label."""
    case = tiny_case("C5b", tiny_text)
    folder = speed_cases.prepared(case)
    batch = speed_cases.load(folder, "peer")[0]
    positions, labels = batch["input_ids"].numel(), int((batch["labels"] != -100).sum())
    text = float(batch["attention_mask"].float().mean())
    width, wide, embedding, rows = 32, 64, 16, len(batch["input_ids"])
    layer = 4 * width * width + 2 * width * wide
    body = positions * (2 * layer + embedding * width) + rows * width * width
    head = width * embedding + embedding * case.vocabulary + 2 * width
    flops = files.read_json(folder / "facts.json")["flops"]
    assert text < 1
    assert flops == pytest.approx(6 * (text * body + labels * head), rel=1e-6)


def test_a_difference_of_losses_is_seen() -> None:
    assert speed.difference([2.0, 1.0], [2.0, 1.0]) == 0
    assert speed.difference([2.0, 1.1], [2.0, 1.0]) == pytest.approx(0.1)
    assert speed.difference([2.0, float("nan")], [2.0, 1.0]) == float("inf")


def test_losses_that_differ_fail_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"ptk": [2.0, 1.0], "trainer": [2.0, 1.0005]}
    monkeypatch.setattr(speed, "in_its_own_process", lambda peer, options, **how: {"losses": found[peer]})
    monkeypatch.setattr(speed_cases, "prepared", lambda case: None)
    lines: list[str] = []
    assert not speed.compare_losses(["C1b"], Namespace(), lines.append)  # 5e-4 is too much in fp32, not in bf16
    assert [line.split("|")[5].strip() for line in lines[1:]] == ["5.0e-04", "5.0e-04"]
    found["trainer"] = [2.0, 1.00005]
    assert speed.compare_losses(["C1b"], Namespace(), lines.append)


def test_a_peer_that_fails_is_a_line_and_what_was_measured_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = {"seconds": 1.0, "tokens": 90.0, "flops": 50.0, "memory": 300, "first": 3.0, "losses": [7.0]}
    asked: list[str] = []

    def measured(peer: str, options: Namespace, **how: object) -> dict[str, object]:
        asked.append(peer)
        if peer == "trainer":
            raise speed.Failed("exit code 1: no memory")
        return {"fp32": 100.0} if peer == "peak" else run

    monkeypatch.setattr(speed, "in_its_own_process", measured)
    monkeypatch.setattr(speed_cases, "prepared", lambda case: None)
    options = Namespace(peers=["ptk", "trainer"], rounds=2, steps=1, keep=tmp_path / "kept")
    lines: list[str] = []
    assert not speed.compare_speed(["C1b"], options, lines.append)
    assert lines[-1] == "C1b trainer failed: exit code 1: no memory"
    assert asked == ["peak", "ptk", "trainer", "ptk"]
    options.peers, asked[:] = ["ptk"], []
    assert speed.compare_speed(["C1b"], options, lines.append)
    assert asked == ["peak"]


def test_the_table_has_medians_and_their_ratios() -> None:
    def run(seconds: float, memory: float) -> dict[str, object]:
        return {"seconds": seconds, "tokens": 90.0, "flops": 50.0, "memory": memory, "first": 3.0, "losses": [7.0]}

    found = {"ptk": [run(1, 300), run(2, 300), run(9, 300)], "trainer": [run(4, 600), run(5, 700), run(1, 500)]}
    about = f"| C1b {speed_cases.CASES['C1b'].about}, V 8,192 |"
    assert speed.rows("C1b", found, peak=100.0).splitlines() == [
        f"{about} ptk | 2.000 | 90 | 1.00 | 50% | 300 | 50% | 3.0 | 7.000 |",
        f"{about} trainer | 4.000 | 90 | 2.00 | 50% | 600 | 100% | 3.0 | 7.000 |",
    ]


def test_a_case_is_measured_by_its_script_and_no_script_twice() -> None:
    assert bench.scripts("all", []) == [["speed.py", "--case", "all"]]
    assert bench.scripts("C9,C1a,C10,C3b,C8", ["--runs", "1"]) == [
        ["speed.py", "--case", "C1a,C3b", "--runs", "1"],
        ["start.py", "--runs", "1"],
        ["text.py", "--runs", "1"],
    ]
    folder = Path(bench.__file__).parent
    assert all((folder / script).exists() for script, *_ in bench.OTHERS.values())
