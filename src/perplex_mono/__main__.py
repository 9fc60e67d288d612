"""`perplex-mono` and `python -m perplex_mono`."""

from perplex_mono.cli.main import cli


def main() -> None:
    """Run the command line and exit with its code."""
    cli(prog_name="perplex-mono")


if __name__ == "__main__":
    main()
