"""The payloads as attrs classes, and the one converter that reads and writes them."""
