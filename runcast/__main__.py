"""Run the command line: `python -m runcast`."""

from runcast.cli import main

if __name__ == "__main__":
    main()
