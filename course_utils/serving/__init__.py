"""After training: an engine and a server; requests are logged, watched, and compared with what was normal."""
