"""Training data: photo packs and parallel texts, read in their documented form."""
