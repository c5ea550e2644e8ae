"""The processes of one home: which there are, who keeps them running, and how they are."""
