"""Reading profiles back from the topics: one person, or all of them as Parquet."""
