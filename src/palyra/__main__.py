"""``python -m palyra`` is the ``palyra`` command."""

from palyra.cli import main

if __name__ == "__main__":
    main()
