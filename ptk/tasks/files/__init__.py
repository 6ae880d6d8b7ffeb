"""From the files of a task to its examples: found, read, labelled, divided."""
