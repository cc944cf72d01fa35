"""Contracts: wire schemas, pipeline values, ids, names, the error tree. Imports nothing else of eventmill."""
