"""Commits in their order: names for them, common ancestors, and what changed between two trees."""
