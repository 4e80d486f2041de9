"""The command line: doctor, demo, status, show, sync, replay, verify.

Its modules parse and print; what they show is decided elsewhere. Imports stand inside the commands, so that
`runcast --help` is quick. Start reading at `app.py`.
"""


def main() -> None:
    """Run the command line, as the console script `runcast` and `python -m runcast` do."""
    from runcast.cli.app import run

    run()
