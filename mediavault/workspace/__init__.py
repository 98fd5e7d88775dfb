"""The working tree: what stands in it, what is staged, and how a commit's files get there safely."""
