-- What the tenant's catalogs of entitlements and roles hold. Which catalogs there are stands in the configuration.
CREATE TABLE entries (
    seq          INTEGER PRIMARY KEY,                      -- the order in which they were added
    catalog      TEXT    NOT NULL,                         -- the name of its resource type
    id           TEXT    NOT NULL UNIQUE,                  -- what stands as value in a user's entitlements or roles
    display_name TEXT    NOT NULL,
    description  TEXT,
    created_ms   INTEGER NOT NULL,                         -- milliseconds since 1970-01-01T00:00:00Z
    modified_ms  INTEGER NOT NULL
) STRICT;

CREATE INDEX entries_by_catalog ON entries (catalog);
