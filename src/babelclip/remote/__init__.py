"""An encoder that is somewhere else: texts and images go to a server of the Jina embeddings API, vectors come back."""
