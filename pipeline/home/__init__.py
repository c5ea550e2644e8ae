"""Parts that a process opens from its settings: logs, codec, topics, records, rules."""
