"""E-mail by SMTP, and returned bounces and complaints.

Read `adapter.py` (one action), `message.py` (its form), `pool.py` (connections), then
`returned_reader.py` (returned mail).
"""
