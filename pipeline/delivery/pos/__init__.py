"""Receipt printers in a network (ESC/POS over TCP, port 9100): what is printed without a payment.

What belongs to a payment is in the answer to it, by the gateway's `/v1/receipts`.
"""
