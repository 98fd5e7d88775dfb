"""What two stores lack of each other, and how it gets there: push and fetch over any remote."""
