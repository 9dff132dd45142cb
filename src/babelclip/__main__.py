"""``python -m babelclip`` is the command ``babelclip``.

A file of its own, because Python asks for a file of this name.
"""

from babelclip.cli.main import main

if __name__ == "__main__":
    main()
