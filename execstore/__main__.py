"""``python -m execstore``: the command line."""

from execstore.cli import main

if __name__ == "__main__":
    main()
