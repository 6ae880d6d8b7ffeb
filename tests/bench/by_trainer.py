"""What every use of transformers' Trainer as a peer has in common."""

from pathlib import Path
from typing import Any


def arguments(out: Path | str, **settings: Any) -> Any:
    """TrainingArguments on the processor, without what costs time beside training: checkpoints, logs, progress bars."""
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(out),
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,  # there is no device to copy to
        **settings,
    )
