"""The commands."""

import click

from perplex_mono.settings import load_settings


@click.group()
def cli() -> None:
    """perplex-mono."""


@cli.command()
def serve() -> None:
    """Start the server."""
    from perplex_mono import server

    server.run(load_settings())
