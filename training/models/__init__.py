"""Networks, losses, and what a training step of each model does."""
