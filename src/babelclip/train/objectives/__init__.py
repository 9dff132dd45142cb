"""What a stage learns: objectives, each with what it draws and its loss. ``objective.py`` says what one is."""
