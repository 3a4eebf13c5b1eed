"""The initial alignment, found automatically or from picked landmarks."""
