"""Sealed frames over a Backend: packs, index, reachability and scrubbing, without a key or a plaintext."""
