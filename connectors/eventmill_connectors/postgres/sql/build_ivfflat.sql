CREATE INDEX CONCURRENTLY {index} ON {partition}
USING ivfflat ((embedding::halfvec({dimensions})) halfvec_ip_ops) WITH (lists = {lists})
