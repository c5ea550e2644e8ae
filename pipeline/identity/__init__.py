"""Who is this? Links between identifiers, the trees they form, and where shards belong."""
