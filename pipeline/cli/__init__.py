"""The command line; heavy imports sit inside the commands, so that ``--help`` answers at once."""
