"""ADAPTER: the only SQL. ``sqlite`` is the embedded default, ``memory`` the fake with the same promises.

Both put a journal behind the same ``ledger.JournaledLedger``; one conformance suite runs over both.
"""
