"""Kills and damage while a real stack works, and the laws that hold all the same.

`stack.py` runs the processes, `traffic.py` sends, `receiver.py` is the customers' inbox,
`faults.py` breaks things, `doomed_worker.py` dies at a named point, `evidence.py` reads what is
left, `oracle.py` says what should be, `checks.py` compares. That each check can fail is shown in
`tests/unit/test_chaos_checks.py`.
"""
