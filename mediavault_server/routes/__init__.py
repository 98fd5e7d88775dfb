"""The calls of the protocol, one file a noun; each handler reads a request and answers it."""
