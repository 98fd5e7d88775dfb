"""One verb a file: parse, call one op, render its report."""
