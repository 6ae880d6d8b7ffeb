"""``ptk predict``: ``lines.py`` reads and answers lines. A file each for what models do: masks, continuation, spans,
replaced; and, behind ``labels.py``, for what fine-tuned heads say: classes, tags, choices."""
