"""The command line as a whole: its global options, and how errors and interruptions end it.

`--help` must answer at once, while the server's libraries take seconds to import. So everything that a command needs is
imported inside the command, here and in `commands`, and nothing heavier than click at the top.
"""

import errno
import sys
import traceback
from pathlib import Path

import click

from perplex_mono import __version__
from perplex_mono.cli.commands import COMMANDS
from perplex_mono.cli.invocation import EXIT_INTERRUPTED, EXIT_USAGE, Invocation
from perplex_mono.cli.plain_text import one_line
from perplex_mono.errors import ConfigurationError, InvalidInput, PerplexError

EXAMPLES = """\b
Examples:
  perplex-mono serve
  perplex-mono ingest ~/Documents/contracts
  perplex-mono search "notice period" --limit 5
  perplex-mono ask "When may the contract be ended?"
"""


class _Commands(click.Group):
    """Ends every command with a code and, when it failed, one line on standard error."""

    def invoke(self, context: click.Context) -> object:
        """Run the command that was named."""
        try:
            return super().invoke(context)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except PerplexError as error:
            _fail(context, str(error), EXIT_USAGE if isinstance(error, ConfigurationError | InvalidInput) else 1)
        except KeyboardInterrupt:
            context.exit(EXIT_INTERRUPTED)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            _fail(context, f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            _fail(context, f"unexpected {type(error).__name__} at {where}: {error}", 1)
        return None


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    commands=COMMANDS,
    epilog=EXAMPLES,
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The configuration file.  [default: config.toml in the working folder, if it is there]",
)
@click.version_option(__version__, prog_name="perplex-mono", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context, config_file: Path | None) -> None:
    """A private answer engine for your own documents.

    Commands speak to the running server; without one they open the data directory themselves.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # text that the terminal cannot show is no error
    context.obj = Invocation(config_file)


def _fail(context: click.Context, message: str, code: int) -> None:
    click.echo(f"error: {one_line(message)}", err=True)
    context.exit(code)
