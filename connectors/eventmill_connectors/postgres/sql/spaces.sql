SELECT known.id, known.relation, known.store, known.space, known.dimensions, known.relation || '_' || known.id AS partition,
       part.oid IS NOT NULL AS attached
FROM eventmill_vector_space AS known
LEFT JOIN pg_class AS part ON part.oid = to_regclass(quote_ident(known.relation || '_' || known.id)) AND part.relispartition
ORDER BY known.id
