"""The landmark picker: its state, its window and what it writes."""
