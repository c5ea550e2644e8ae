"""HTML report: its content (`content.py`) and its page (`page.py`) with script and style."""
