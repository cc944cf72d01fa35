SELECT number, name, checksum FROM eventmill_migration ORDER BY number
