"""The command line: one module for each command, or for a few that belong together.

Its modules only parse and print. Imports are inside the commands, which keeps `runcast --help` quick. Start reading at
`app.py`.
"""


def main() -> None:
    """Run the command line, for the console script `runcast` and `python -m runcast`."""
    from runcast.cli.app import run

    run()
