"""``python -m ptk``, which is how torchrun starts each process."""

from ptk.cli import main

if __name__ == "__main__":
    main()
