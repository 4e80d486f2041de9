"""The command line: doctor, demo, status, show, sync, replay, verify.

Its modules only parse and print. Imports are inside the commands, which keeps `runcast --help` quick. Start reading at
`app.py`.
"""


def main() -> None:
    """Run the command line, for the console script `runcast` and `python -m runcast`."""
    from runcast.cli.app import run

    run()
