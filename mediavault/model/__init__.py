"""What is stored: ids, objects and names as frozen types."""
