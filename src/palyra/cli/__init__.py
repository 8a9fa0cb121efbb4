"""The ``palyra`` command: one file per verb group."""


def main() -> None:
    """Entry point of the console script; exits with a code of DESIGN section 8."""
    from palyra.cli.app import app

    app()
