"""The command line as a whole."""

from palyra.cli.verbs import build_app

app = build_app()
