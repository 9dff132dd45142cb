"""From priced items to raw vectors: queues, batches, the process that owns a model, and a cache before it."""
