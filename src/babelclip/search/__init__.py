"""Search: an index over an encoder and a store of vectors."""
