"""The shared store: many gateways, one ledger, on PostgreSQL.

Every gateway has a number, a journal of its own with a chain of its own, and **slices**: what it may spend of
each account. A slice is claimed on the shared row of the account, where the limit is checked under a lock, so
the sum of all slices can never exceed the limit (L1). Inside its slices a gateway decides in memory; nothing
goes upstream before its reservation is committed, and no commit succeeds for a gateway that another one has
declared dead. No promise about money depends on a clock.
"""
