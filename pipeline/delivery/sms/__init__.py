"""Text messages by the HTTP APIs that files in providers/ describe.

Read `adapter.py` (one action), `request.py` (its form), then `segments.py`.
"""
