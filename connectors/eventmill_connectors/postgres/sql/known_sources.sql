SELECT event_id, topic, partition, "offset", text_hash
FROM eventmill_vector_source
WHERE space = {space} AND event_id = ANY ($1::text[])
