-- Sorted lists, and the key that seals their cursors.

-- With the kind before them and those that have no value among them, these serve a sorted list as well as a filter.
DROP INDEX resources_by_external_id;
DROP INDEX resources_by_display;
CREATE INDEX resources_by_external_id ON resources (kind, external_id);
CREATE INDEX resources_by_display     ON resources (kind, display_key);

-- Random keys of this file: a cursor that is sealed with one holds as long as the file is there, and in no other file.
CREATE TABLE keys (
    name  TEXT PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT;

INSERT INTO keys (name, bytes) VALUES ('cursor', random_key());

-- The same view, so that who asks by external_id is served from the index above.
DROP VIEW users;
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
      -- The kind chooses little, so that the planner goes by what else is asked for; but not so little that it passes
      -- over an index that begins with it.
      FROM resources WHERE likelihood(kind = 1, 0.25);
