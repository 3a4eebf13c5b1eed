"""The reader study: sheets, scores, agreement."""
