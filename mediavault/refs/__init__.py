"""Names that move by compare-and-swap."""
