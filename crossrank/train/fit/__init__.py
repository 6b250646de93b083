"""The training proper: losses, batches, tokenising, several processes, and the run from checkpoint to checkpoint."""
