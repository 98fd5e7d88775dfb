"""The command line: finds the verb, opens the repository, shows what the op reports."""
