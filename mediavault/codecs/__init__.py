"""What is done to bytes before they are stored: compression and sealing, one file each."""
