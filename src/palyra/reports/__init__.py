"""The read side: stored decisions and rollups turned into documents for people and programs. Pure."""
