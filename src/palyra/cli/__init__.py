"""The ``palyra`` command: one file per verb group."""

import sys


def main() -> None:
    """Entry point of the console script; exits with a code of DESIGN section 8."""
    from palyra.cli.verbs import build_app, verbs_for

    build_app(verbs_for(sys.argv[1:]))()
