"""Routes, a file for each kind of request; `app.py` puts them together."""
