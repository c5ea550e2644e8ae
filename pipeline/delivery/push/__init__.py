"""Web push (RFC 8030): encrypted for one browser (RFC 8291), signed by VAPID (RFC 8292).

Read `adapter.py` (one action), then `message.py` (its form).
"""
