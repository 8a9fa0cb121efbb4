"""Words every other package speaks: money, instants, ids, errors, limits, secrets. Pure."""
