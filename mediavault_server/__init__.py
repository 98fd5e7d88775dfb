"""The server: stateless HTTP in front of a Backend, without a key or a plaintext."""
