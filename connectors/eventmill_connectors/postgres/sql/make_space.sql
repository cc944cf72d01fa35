INSERT INTO eventmill_vector_space (relation, store, space, dimensions) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING
RETURNING id
