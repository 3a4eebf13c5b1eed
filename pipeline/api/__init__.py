"""What ``bci_pipeline`` offers: each command as a function, results as objects."""
