"""Bytes of every stored and sent thing, and back."""
