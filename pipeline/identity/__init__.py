"""Identity stage: who is this? Links between identifiers, the trees they form, and shards."""
