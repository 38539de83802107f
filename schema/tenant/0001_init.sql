-- One tenant's directory. Never edited after release; the next change is 0002.
-- No table names a tenant: the file is the tenant.

-- Users and Groups. `seq` is creation order, which is list order: stable, total, never used again.
CREATE TABLE resources (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    kind        INTEGER NOT NULL CHECK (kind IN (1, 2)),  -- 1 User, 2 Group
    id          TEXT    NOT NULL UNIQUE,                  -- a UUID of ours
    name        TEXT    NOT NULL,                         -- userName or displayName, as sent
    name_key    TEXT    NOT NULL,                         -- the same, folded: COLLATE NOCASE knows only ASCII
    display_key TEXT,                                     -- a user's displayName, folded
    external_id TEXT,                                     -- the client's id, case kept
    active      INTEGER NOT NULL DEFAULT 1 CHECK (active IN (0, 1)),
    created_ms  INTEGER NOT NULL,                         -- milliseconds since 1970-01-01T00:00:00Z
    modified_ms INTEGER NOT NULL,
    version     INTEGER NOT NULL,                         -- the event that made the resource what it is
    doc         TEXT    NOT NULL                          -- JSON, without id, meta, groups, members and password
) STRICT;

CREATE UNIQUE INDEX resources_by_name     ON resources (kind, name_key);
CREATE INDEX resources_by_kind            ON resources (kind);
CREATE INDEX resources_by_active          ON resources (kind, active);
CREATE INDEX resources_by_external_id     ON resources (external_id) WHERE external_id IS NOT NULL;
CREATE INDEX resources_by_display         ON resources (display_key) WHERE display_key IS NOT NULL;
CREATE INDEX resources_by_created         ON resources (kind, created_ms);
CREATE INDEX resources_by_modified        ON resources (kind, modified_ms);

-- How many resources each block of 1,024 sequence numbers holds, so that a page is found, and a total known,
-- without walking or counting what comes before it. Kept by the triggers below and nothing else.
CREATE TABLE positions (
    kind   INTEGER NOT NULL,
    block  INTEGER NOT NULL,
    active INTEGER NOT NULL,
    n      INTEGER NOT NULL,
    PRIMARY KEY (kind, block, active)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER positions_insert AFTER INSERT ON resources BEGIN
    INSERT INTO positions (kind, block, active, n) VALUES (new.kind, new.seq / 1024, new.active, 1)
        ON CONFLICT DO UPDATE SET n = n + 1;
END;

CREATE TRIGGER positions_delete AFTER DELETE ON resources BEGIN
    UPDATE positions SET n = n - 1
        WHERE kind = old.kind AND block = old.seq / 1024 AND active = old.active;
END;

CREATE TRIGGER positions_active AFTER UPDATE OF active ON resources WHEN old.active <> new.active BEGIN
    UPDATE positions SET n = n - 1
        WHERE kind = old.kind AND block = old.seq / 1024 AND active = old.active;
    INSERT INTO positions (kind, block, active, n) VALUES (new.kind, new.seq / 1024, new.active, 1)
        ON CONFLICT DO UPDATE SET n = n + 1;
END;

-- The e-mail addresses of `resources.doc`, folded, for the filters that ask by them.
CREATE TABLE emails (
    resource  INTEGER NOT NULL REFERENCES resources (seq) ON DELETE CASCADE,
    value_key TEXT    NOT NULL,
    type_key  TEXT
) STRICT;

CREATE INDEX emails_by_resource ON emails (resource);
CREATE INDEX emails_by_value    ON emails (value_key, type_key, resource);

-- Who is in which group; both directions are a walk along one B-tree.
CREATE TABLE members (
    grp     INTEGER NOT NULL REFERENCES resources (seq) ON DELETE CASCADE,
    member  INTEGER NOT NULL REFERENCES resources (seq) ON DELETE CASCADE,
    display TEXT,                                         -- only where the client gave another than the member's name
    PRIMARY KEY (grp, member)
) STRICT, WITHOUT ROWID;

CREATE INDEX members_by_member ON members (member, grp);

-- Argon2id hashes (PHC form) of the passwords that Okta sends; filled only where the tenant asks for it.
CREATE TABLE passwords (
    resource INTEGER PRIMARY KEY REFERENCES resources (seq) ON DELETE CASCADE,
    hash     TEXT NOT NULL
) STRICT;

-- What happened, in order; written in the transaction of the change and never altered.
CREATE TABLE events (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms       INTEGER NOT NULL,
    actor       TEXT NOT NULL,                            -- 'token:NAME' or 'operator'
    action      TEXT NOT NULL,                            -- create, update, activate, deactivate, restore, delete
    kind        INTEGER NOT NULL,
    resource_id TEXT NOT NULL,
    changed     TEXT NOT NULL                             -- JSON: names of attributes, ids of members
) STRICT;

CREATE INDEX events_by_resource ON events (resource_id);

-- Deleted resources, so that an id is never given twice and a deletion can be told from a mistake.
CREATE TABLE tombstones (
    id         TEXT PRIMARY KEY,
    kind       INTEGER NOT NULL,
    name       TEXT NOT NULL,
    deleted_ms INTEGER NOT NULL
) STRICT;

-- For the application: documented in docs/ici-side.md, kept stable across migrations. Read only.
CREATE VIEW users AS
    SELECT id,
           name                                AS user_name,
           name_key                            AS user_name_key,
           external_id,
           active,
           doc ->> '$.displayName'             AS display_name,
           doc ->> '$.name.givenName'          AS given_name,
           doc ->> '$.name.familyName'         AS family_name,
           (SELECT e.value ->> '$.value' FROM json_each(doc, '$.emails') AS e
             ORDER BY e.value ->> '$.primary' DESC, e.key LIMIT 1) AS email,
           created_ms,
           modified_ms,
           doc
      -- The likelihood tells the planner that the kind chooses little, so that it goes by what else is asked for.
      FROM resources WHERE likelihood(kind = 1, 0.9);

CREATE VIEW groups AS
    SELECT id, name AS display_name, name_key AS display_name_key, external_id, created_ms, modified_ms, doc
      FROM resources WHERE likelihood(kind = 2, 0.1);

CREATE VIEW memberships AS
    SELECT g.id AS group_id, g.name AS group_name, u.id AS member_id, u.name AS member_name,
           CASE u.kind WHEN 1 THEN 'User' ELSE 'Group' END AS member_type
      FROM members AS m
      JOIN resources AS g ON g.seq = m.grp
      JOIN resources AS u ON u.seq = m.member;
