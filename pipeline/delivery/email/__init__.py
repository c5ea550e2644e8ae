"""E-mail by SMTP, and the bounces and complaints that come back.

Read `adapter.py` (one action), `message.py` (its form), `pool.py` (connections), then
`returned_reader.py` (what comes back).
"""
