"""Reports: one HTML file each, that opens anywhere and asks the network for nothing."""
