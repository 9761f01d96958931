// SPDX-License-Identifier: Apache-2.0

/**
 * changes is an undo log: what was there before each version. What came after is the next entry of the same name, or
 * the service as it is now; so each body is stored once.
 */
export const sql = `
CREATE TABLE services (
  name TEXT PRIMARY KEY,
  body BLOB NOT NULL,
  generation INTEGER NOT NULL,
  hash BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE versions (
  version INTEGER PRIMARY KEY,
  time_ms INTEGER NOT NULL,
  author TEXT NOT NULL,
  origin TEXT NOT NULL,
  message TEXT NOT NULL,
  created INTEGER NOT NULL,
  updated INTEGER NOT NULL,
  deleted INTEGER NOT NULL,
  bytes INTEGER NOT NULL
) STRICT;

CREATE TABLE changes (
  version INTEGER NOT NULL,
  name TEXT NOT NULL,
  before_body BLOB,
  before_generation INTEGER,
  exists_after INTEGER NOT NULL,
  PRIMARY KEY (version, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX changes_by_name ON changes (name, version);

CREATE TABLE drains (
  service TEXT NOT NULL,
  backend TEXT NOT NULL,
  PRIMARY KEY (service, backend)
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`;
