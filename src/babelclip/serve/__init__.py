"""The HTTP server: embeddings of texts and images over a Jina-compatible API."""
