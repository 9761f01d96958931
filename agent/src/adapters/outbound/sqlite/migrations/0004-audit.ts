// SPDX-License-Identifier: Apache-2.0

/**
 * The audit log (shared/audit): records in their canonical bytes and the chain of their hashes. Triggers keep it
 * append-only: a record comes after the last one, none is changed, and none is deleted but below the floor, which can be
 * raised only to a record of this log of which the last one says so.
 *
 * audit_heads are what nodes, this one too, have signed of their logs; two that contradict each other are both kept.
 */
export const sql = `
CREATE TABLE audit (
  sequence INTEGER PRIMARY KEY,
  body BLOB NOT NULL,
  hash BLOB NOT NULL
) STRICT;

CREATE TABLE audit_log (
  name BLOB NOT NULL,
  floor INTEGER NOT NULL,
  floor_hash BLOB NOT NULL
) STRICT;
INSERT INTO audit_log VALUES (randomblob(16), 0, X'');

CREATE TABLE audit_totals (
  records INTEGER NOT NULL,
  bytes INTEGER NOT NULL
) STRICT;
INSERT INTO audit_totals VALUES (0, 0);

CREATE TABLE audit_heads (
  node TEXT NOT NULL,
  log BLOB NOT NULL,
  sequence INTEGER NOT NULL,
  hash BLOB NOT NULL,
  time_ms INTEGER NOT NULL,
  signature BLOB NOT NULL,
  PRIMARY KEY (node, log, sequence, hash)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER audit_appended BEFORE INSERT ON audit
WHEN new.sequence IS NOT 1 + coalesce((SELECT max(sequence) FROM audit), (SELECT floor FROM audit_log))
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only: a record comes after the last one'); END;
CREATE TRIGGER audit_not_updated BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only: no record is changed'); END;
CREATE TRIGGER audit_not_deleted BEFORE DELETE ON audit WHEN old.sequence > (SELECT floor FROM audit_log)
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only: no record above its floor is deleted'); END;

CREATE TRIGGER audit_log_one BEFORE INSERT ON audit_log
BEGIN SELECT RAISE(ABORT, 'there is one audit log'); END;
CREATE TRIGGER audit_log_stays BEFORE DELETE ON audit_log
BEGIN SELECT RAISE(ABORT, 'there is one audit log'); END;
CREATE TRIGGER audit_floor_told BEFORE UPDATE ON audit_log
WHEN new.name IS NOT old.name OR new.floor <= old.floor
  OR new.floor_hash IS NOT (SELECT hash FROM audit WHERE sequence = new.floor)
  OR coalesce((SELECT instr(body, CAST('AuditRecord/' || new.floor || '/' || lower(hex(new.floor_hash)) AS BLOB))
    FROM audit WHERE sequence > new.floor ORDER BY sequence DESC LIMIT 1), 0) = 0
BEGIN SELECT RAISE(ABORT, 'the floor of the audit log is raised only as its last record says'); END;

CREATE TRIGGER audit_counted AFTER INSERT ON audit BEGIN
  UPDATE audit_totals SET records = records + 1, bytes = bytes + length(new.body) + length(new.hash);
END;
CREATE TRIGGER audit_dropped AFTER DELETE ON audit BEGIN
  UPDATE audit_totals SET records = records - 1, bytes = bytes - length(old.body) - length(old.hash);
END;
`;
