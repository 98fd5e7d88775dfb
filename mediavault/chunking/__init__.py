"""Where a file is cut."""
