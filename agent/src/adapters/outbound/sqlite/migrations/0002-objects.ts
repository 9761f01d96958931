// SPDX-License-Identifier: Apache-2.0

/**
 * Objects of the kinds beside services, and their undo log. Tables of their own: what is there stays as it is, however
 * long its history, and nothing that is done to 10,000 services has a kind to compare.
 */
export const sql = `
CREATE TABLE objects (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  body BLOB NOT NULL,
  generation INTEGER NOT NULL,
  hash BLOB NOT NULL,
  PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE object_changes (
  version INTEGER NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  before_body BLOB,
  before_generation INTEGER,
  exists_after INTEGER NOT NULL,
  PRIMARY KEY (version, kind, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX object_changes_by_name ON object_changes (kind, name, version);
`;
