"""`data_manifest.yaml`: reading it, and every mistake in it with its line and column."""
