"""Reading topics for people: committed records, decoded as far as they can be."""
