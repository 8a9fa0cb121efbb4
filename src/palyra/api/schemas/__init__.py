"""The shapes of what the control plane answers, for the OpenAPI document.

Money is ``<name>_nano_usd`` (integer) beside ``<name>_usd`` (decimal string). Times are RFC 3339 in UTC.
"""
