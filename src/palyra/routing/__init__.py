"""Which model and provider serve a call, and what to do when one fails. Pure: time is an argument."""
