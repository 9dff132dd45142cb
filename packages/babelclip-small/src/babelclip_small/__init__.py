"""The weights of babelclip-small as a distribution of their own: the model folder ``model`` beside this file.

Nothing is imported from here. ``babelclip.bundled`` finds the folder where this package is installed.
"""
