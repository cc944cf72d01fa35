"""Postgres: passages with their vectors (pgvector), and the migrations that make its tables."""
