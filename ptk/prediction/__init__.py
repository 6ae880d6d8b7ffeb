"""``ptk predict``: ``lines.py`` reads and answers lines; a file each for what models do: masks, continuation, spans."""
