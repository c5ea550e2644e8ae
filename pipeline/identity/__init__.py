"""Identity stage: the person of an interaction, by links between identifiers, trees and shards."""
