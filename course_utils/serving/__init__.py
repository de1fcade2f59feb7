"""After training: requests are logged, watched, and compared with what was normal."""
