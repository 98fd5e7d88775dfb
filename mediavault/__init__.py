"""The engine of MediaVault: version control for large media."""
