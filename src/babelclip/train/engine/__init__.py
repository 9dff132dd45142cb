"""What trains a stage, whatever it learns: the loop, the step, the optimizer, the device, the processes, the state."""
