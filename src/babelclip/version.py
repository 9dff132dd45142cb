"""The one place that holds the version; CHANGELOG.md must have it as its newest release."""

__version__ = "0.1.0"
