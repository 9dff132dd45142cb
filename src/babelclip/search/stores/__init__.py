"""One file per store; ``open_store`` chooses."""
