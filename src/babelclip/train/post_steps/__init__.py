"""What is done to the weights when a stage has ended, by name: no training, but fits that take seconds."""
