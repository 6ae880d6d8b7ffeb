"""What every use of transformers' Trainer as a peer has in common."""

from pathlib import Path
from typing import Any

from ptk import device


def arguments(out: Path | str, **settings: Any) -> Any:
    """TrainingArguments without what costs time beside training: checkpoints, logs, progress bars."""
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(out),
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=device.kind() == "cpu",
        dataloader_pin_memory=device.kind() != "cpu",
        **settings,
    )
