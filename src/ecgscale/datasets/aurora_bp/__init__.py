"""Aurora-BP."""
