"""`perplex-mono` and `python -m perplex_mono`."""

import sys

from perplex_mono.cli.main import cli


def main() -> None:
    """Run the command line."""
    sys.exit(cli())


if __name__ == "__main__":
    main()
