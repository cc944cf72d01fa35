SELECT EXISTS (
    SELECT FROM pg_class AS found JOIN pg_attribute AS part ON part.attrelid = found.oid
    WHERE found.oid = to_regclass(quote_ident($1)) AND found.relkind = 'p' AND part.attname = 'embedding'
)
