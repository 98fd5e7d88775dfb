"""What the other side of a push or a fetch does with a store, whoever speaks for it: a server, or a client on the storage itself."""
