-- The table `positions` once more, by spans of 32 blocks (32,768 sequence numbers), so that neither a total nor the
-- place of a page walks all blocks: with a million resources those are a thousand. Kept by the triggers below and
-- nothing else.
CREATE TABLE spans (
    kind   INTEGER NOT NULL,
    span   INTEGER NOT NULL,
    active INTEGER NOT NULL,
    n      INTEGER NOT NULL,
    PRIMARY KEY (kind, span, active)
) STRICT, WITHOUT ROWID;

INSERT INTO spans (kind, span, active, n)
    SELECT kind, block / 32, active, sum(n) FROM positions GROUP BY kind, block / 32, active;

CREATE TRIGGER spans_insert AFTER INSERT ON resources BEGIN
    INSERT INTO spans (kind, span, active, n) VALUES (new.kind, new.seq / 32768, new.active, 1)
        ON CONFLICT DO UPDATE SET n = n + 1;
END;

CREATE TRIGGER spans_delete AFTER DELETE ON resources BEGIN
    UPDATE spans SET n = n - 1
        WHERE kind = old.kind AND span = old.seq / 32768 AND active = old.active;
END;

CREATE TRIGGER spans_active AFTER UPDATE OF active ON resources WHEN old.active <> new.active BEGIN
    UPDATE spans SET n = n - 1
        WHERE kind = old.kind AND span = old.seq / 32768 AND active = old.active;
    INSERT INTO spans (kind, span, active, n) VALUES (new.kind, new.seq / 32768, new.active, 1)
        ON CONFLICT DO UPDATE SET n = n + 1;
END;
