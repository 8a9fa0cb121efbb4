"""Which models there are and who serves them: from the config, from discovery and from the price book. Pure."""
