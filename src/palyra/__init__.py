"""Palyra: usage governance for language models."""

__version__ = "0.1.0"
