"""From a registered pair of slides to selected and cut patches, one case at a time."""
