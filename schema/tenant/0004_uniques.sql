-- Values of attributes that a tenant's own schemas declare as unique. Which attributes these are is in the
-- configuration; `unique_attributes` says of which the values are here and kept.
CREATE TABLE unique_attributes (
    kind      INTEGER NOT NULL,
    attribute TEXT    NOT NULL,                            -- the extension's URN, a colon, the attribute's name
    PRIMARY KEY (kind, attribute)
) STRICT, WITHOUT ROWID;

CREATE TABLE unique_values (
    kind      INTEGER NOT NULL,
    attribute TEXT    NOT NULL,
    value_key TEXT    NOT NULL,                            -- folded unless the attribute is case-exact
    resource  INTEGER NOT NULL REFERENCES resources (seq) ON DELETE CASCADE,
    PRIMARY KEY (kind, attribute, value_key)
) STRICT, WITHOUT ROWID;

CREATE INDEX unique_values_by_resource ON unique_values (resource);
