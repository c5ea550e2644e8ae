"""What is killed and damaged while a real stack works, and what must hold all the same.

`stack.py` runs the processes, `traffic.py` sends, `receiver.py` is the customers' inbox,
`faults.py` breaks things, `evidence.py` reads what is left, `oracle.py` says what should be,
`checks.py` compares.
"""
