-- Sorted, so that two writers that meet wait for each other in one order. A row that comes back was accepted.
INSERT INTO eventmill_vector_source AS known
    (space, event_id, topic, partition, "offset", text_hash, vector_hash, changed)
SELECT {space}, given.*, true
FROM unnest($1::text[], $2::text[], $3::integer[], $4::bigint[], $5::bytea[], $6::bytea[])
    AS given (event_id, topic, partition, "offset", text_hash, vector_hash)
ORDER BY given.event_id COLLATE "C"
ON CONFLICT (space, event_id) DO UPDATE SET
    topic = excluded.topic,
    partition = excluded.partition,
    "offset" = excluded."offset",
    text_hash = excluded.text_hash,
    vector_hash = excluded.vector_hash,
    changed = (known.text_hash, known.vector_hash) <> (excluded.text_hash, excluded.vector_hash)
WHERE NOT (known.topic = excluded.topic AND known.partition = excluded.partition
           AND known."offset" > excluded."offset")
  AND (known.topic, known.partition, known."offset", known.text_hash, known.vector_hash)
   <> (excluded.topic, excluded.partition, excluded."offset", excluded.text_hash, excluded.vector_hash)
RETURNING known.event_id, known.changed
