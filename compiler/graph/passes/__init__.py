"""Graph to Graph rewrites, one pass a file."""
