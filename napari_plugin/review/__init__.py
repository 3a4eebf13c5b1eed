"""The review of a finished registration."""
