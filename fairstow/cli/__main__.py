"""`python -m fairstow.cli`, for where the installed program isn't on the path."""

from fairstow.cli.main import main

if __name__ == "__main__":
    main()
