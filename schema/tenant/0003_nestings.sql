-- Groups in groups: the rows of `members` whose member is a group. There are few or none of them, so that whether a
-- user's groups are members of others is known at hardly any cost. Kept by the trigger and the foreign key below and
-- nothing else.
CREATE TABLE nestings (
    member INTEGER NOT NULL,
    grp    INTEGER NOT NULL,
    PRIMARY KEY (member, grp),
    FOREIGN KEY (grp, member) REFERENCES members (grp, member) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX nestings_by_group ON nestings (grp, member);

INSERT INTO nestings (member, grp)
    SELECT g.seq, m.grp FROM resources AS g CROSS JOIN members AS m ON m.member = g.seq WHERE g.kind = 2;

CREATE TRIGGER nestings_insert AFTER INSERT ON members
WHEN (SELECT kind FROM resources WHERE seq = new.member) = 2 BEGIN
    INSERT INTO nestings (member, grp) VALUES (new.member, new.grp);
END;

-- For the application: the groups that each user belongs to, directly or because a group of theirs is in it. Ask it by
-- the user: the groups of one are found by walking upwards from them.
CREATE VIEW memberships_all AS
    SELECT g.id AS group_id, g.name AS group_name, u.id AS user_id, u.name AS user_name,
           CASE WHEN EXISTS (SELECT 1 FROM members AS m WHERE m.grp = g.seq AND m.member = u.seq)
                THEN 'direct' ELSE 'indirect' END AS type
      FROM resources AS u
     CROSS JOIN resources AS g
        ON g.seq IN (WITH RECURSIVE up (grp) AS (
                         SELECT m.grp FROM members AS m WHERE m.member = u.seq
                          UNION
                         SELECT n.grp FROM up CROSS JOIN nestings AS n ON n.member = up.grp)
                     SELECT grp FROM up)
     WHERE likelihood(u.kind = 1, 0.9);
