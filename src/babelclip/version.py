"""The one place that holds the version; CHANGELOG.md must have it as its newest release.

A file of its own, because the build reads it without importing anything.
"""

__version__ = "0.1.0"
