CREATE INDEX CONCURRENTLY {index} ON {partition}
USING hnsw ((embedding::halfvec({dimensions})) halfvec_ip_ops) WITH (m = 16, ef_construction = 64)
