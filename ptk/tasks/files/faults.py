"""What is wrong with a file of examples: the whole file is looked at, the first few faults are told (D11)."""

from ptk.errors import DataError

TOLD = 3


class Faults:
    """Counts faults, keeps the first few, and raises them together."""

    def __init__(self) -> None:
        self.first: list[str] = []
        self.count = 0

    def add(self, place: str, said: str) -> None:
        """``said`` holds the value and the remedy."""
        self.count += 1
        if len(self.first) < TOLD:
            self.first.append(f"{place}: {said}")

    def check(self) -> None:
        """Raises DataError, a line for each of the first faults and one with the count of the others."""
        if self.count > TOLD:
            self.first.append(f"and {self.count - TOLD:,} more faults of these files")
        if self.count:
            raise DataError("\n".join(self.first))
