"""Plaintext to frames and back: where naming, compressing and sealing meet."""
