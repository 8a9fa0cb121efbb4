"""Which models there are and who serves them: from config, discovery and price book. Pure."""
