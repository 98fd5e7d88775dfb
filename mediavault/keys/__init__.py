"""The keys of a repository: how they are derived, wrapped for people and kept on this computer."""
