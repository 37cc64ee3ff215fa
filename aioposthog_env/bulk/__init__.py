"""The same call to many environments."""
