"""`python -m gentut` is the command `gentut`, also where nothing is installed."""

from gentut.cli import main

if __name__ == "__main__":
    main()
