"""What an amount means: accounts, holds, and the only arithmetic on balances. Pure.

Invariants kept here: L1 (no over-admission), L2 (entries sum to balances), L3 (a reservation resolves
once), L5 (all accounts of a call or none), L7 (late truth is posted), D3 (replay gives the balances).
"""
