// SPDX-License-Identifier: Apache-2.0

/**
 * What is replicated (domain/replication/contract.ts), beside what it makes: services and objects are a projection of cells.
 * A tombstone is a cell without a value. SQLite's order of bytes is that of code points, the contract's.
 * state has a row for each part of a replica's state, as JSON (replica-state.ts).
 */
export const sql = `
CREATE TABLE cells (
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  "group" TEXT NOT NULL,
  bucket INTEGER NOT NULL,
  stamp BLOB NOT NULL,
  origin TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  mark INTEGER NOT NULL,
  value BLOB,
  PRIMARY KEY (kind, id, "group")
) STRICT, WITHOUT ROWID;
CREATE INDEX cells_by_bucket ON cells (bucket, kind, id, "group");
CREATE INDEX tombstones ON cells (kind, id, "group") WHERE value IS NULL;

CREATE TABLE frames (
  origin TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  bytes BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX frames_by_sequence ON frames (origin, sequence);

CREATE TABLE heads (
  origin TEXT PRIMARY KEY,
  sequence INTEGER NOT NULL,
  hash BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE replica_state (
  part TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE frame_totals (
  frames INTEGER NOT NULL,
  bytes INTEGER NOT NULL
) STRICT;
INSERT INTO frame_totals VALUES (0, 0);
CREATE TRIGGER frame_added AFTER INSERT ON frames BEGIN
  UPDATE frame_totals SET frames = frames + 1, bytes = bytes + length(new.bytes);
END;
CREATE TRIGGER frame_dropped AFTER DELETE ON frames BEGIN
  UPDATE frame_totals SET frames = frames - 1, bytes = bytes - length(old.bytes);
END;
`;
