"""Kills and damage while a real stack works, and the laws that hold nevertheless.

`stack.py` runs the processes, `traffic.py` sends messages, `receiver.py` receives the customers'
messages, `faults.py` has the faults, `doomed_worker.py` is killed at a named point, `evidence.py`
reads the resulting topics, `oracle.py` has the expected result, `checks.py` compares the two, and
`spending_checks.py` does so for budgets and learning. Tests that each check can fail are
`tests/unit/test_chaos_checks.py` and `tests/unit/test_chaos_spending_checks.py`.
"""
