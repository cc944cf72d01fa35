SELECT made.relname AS name, kind.amname AS kind, about.indisvalid AND about.indisready AS usable, made.reloptions AS options
FROM pg_index AS about
JOIN pg_class AS made ON made.oid = about.indexrelid
JOIN pg_am AS kind ON kind.oid = made.relam
WHERE about.indrelid = to_regclass(quote_ident($1)) AND kind.amname IN ('hnsw', 'ivfflat')
ORDER BY made.relname
