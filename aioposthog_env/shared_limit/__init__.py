"""One rate limit for many processes: its state is in Redis or Valkey."""
