// SPDX-License-Identifier: Apache-2.0
import { sql as configuration } from './0001-configuration.js';
import { sql as objects } from './0002-objects.js';
import { sql as replica } from './0003-replica.js';
import { sql as audit } from './0004-audit.js';

/** In order; PRAGMA user_version is the number of those that ran. Never edit one that has been released: add one. */
export const MIGRATIONS: readonly string[] = [configuration, objects, replica, audit];
