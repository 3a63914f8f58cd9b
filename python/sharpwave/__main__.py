"""The ``sharpwave`` command."""

import sys

from ._sharpwave import command


def main() -> None:
    """Does what the arguments of this process say, and ends it."""
    sys.exit(command(["sharpwave", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
