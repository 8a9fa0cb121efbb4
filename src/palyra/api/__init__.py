"""The control-plane door: rules, decisions, usage and keys over HTTP under ``/api/v1``."""
