"""Receipt printers in a network (ESC/POS over TCP, port 9100), for receipts without a payment.

The receipt of a payment is in the answer of the gateway's `/v1/receipts`.
"""
