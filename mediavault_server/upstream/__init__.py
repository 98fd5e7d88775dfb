"""A cache of a remote server: what never changes is answered from here, all else is asked there."""
