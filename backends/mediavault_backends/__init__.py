"""Bytes under keys: the Backend protocol and the stores that fulfil it."""
