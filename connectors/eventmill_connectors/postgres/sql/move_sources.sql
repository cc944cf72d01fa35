WITH given AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::integer[], $4::bigint[], $5::bytea[])
        AS given (event_id, topic, partition, "offset", text_hash)
), held AS (
    SELECT known.event_id
    FROM eventmill_vector_source AS known JOIN given USING (event_id)
    WHERE known.space = {space} AND known.text_hash = given.text_hash
    ORDER BY known.event_id
    FOR UPDATE OF known
)
UPDATE eventmill_vector_source AS known
SET topic = given.topic, partition = given.partition, "offset" = given."offset", changed = false
FROM held JOIN given USING (event_id)
WHERE known.space = {space} AND known.event_id = held.event_id AND known.text_hash = given.text_hash
  AND NOT (known.topic = given.topic AND known.partition = given.partition AND known."offset" > given."offset")
RETURNING known.event_id
