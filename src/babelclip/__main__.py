"""``python -m babelclip`` is the command ``babelclip``."""

from babelclip.cli.main import main

if __name__ == "__main__":
    main()
