"""Parts that a process opens by its settings: logs, codec, topics, records, rules."""
