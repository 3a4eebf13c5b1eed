"""From a registered pair of slides to judged and cut patches, one case at a time."""
