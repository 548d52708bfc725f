"""What keeps a run going, and its files whole."""
