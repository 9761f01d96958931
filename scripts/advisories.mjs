// SPDX-License-Identifier: Apache-2.0
// @ts-check
/**
 * What `npm audit` tells, where the registry does not answer it (mirrors often do not): every package of package-lock.json, by its
 * very version, against a copy of GitLab's advisory database, which takes in GitHub's advisories and NVD's.
 *
 *   npm run audit:advisories -- DIRECTORY
 *
 * DIRECTORY: a checkout of https://gitlab.com/gitlab-org/security-products/gemnasium-db, of which only npm/ is read:
 * npm/PACKAGE/ID.yml with affected_range (a semver range), title, pubdate. Exit status: 0 none is affected, 1 some are, or a
 * range could not be read, 2 there was nothing to compare.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import semver from 'semver';
import { parse } from 'yaml';

/** @typedef {{ id: string, range: string, title: string, published: string, severity: string }} Advisory */

/**
 * Packages that are in the lock file, for whatever platform, without those of this repository.
 * @param {string} lockFile
 * @returns {Map<string, Set<string>>} versions by name
 */
export function lockedPackages(lockFile) {
  const { packages } = JSON.parse(readFileSync(lockFile, 'utf8'));
  const found = new Map();
  for (const [path, { name, version, link }] of Object.entries(packages)) {
    const at = path.lastIndexOf('node_modules/');
    if (at < 0 || link === true) continue;
    // An alias is installed under another name than its own.
    const own = name ?? path.slice(at + 'node_modules/'.length);
    found.set(own, (found.get(own) ?? new Set()).add(version));
  }
  return found;
}

/**
 * @param {string} directory of the database
 * @param {string} name of a package, with its scope
 * @returns {Advisory[]}
 */
export function advisoriesOf(directory, name) {
  const folder = join(directory, 'npm', name);
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return [];
  return readdirSync(folder)
    .filter((file) => file.endsWith('.yml'))
    .map((file) => {
      const advisory = parse(readFileSync(join(folder, file), 'utf8'));
      const text = (/** @type {string} */ key) => String(advisory[key] ?? '');
      return {
        id: text('identifier') || file,
        range: text('affected_range'),
        title: text('title'),
        published: text('pubdate'),
        severity: text('cvss_v4') || text('cvss_v3'),
      };
    });
}

/**
 * true, too, where the range is none that semver knows: then a person has to look.
 * @param {string} version
 * @param {string} range
 */
export function isAffected(version, range) {
  return semver.validRange(range) === null || semver.satisfies(version, range, { includePrerelease: true });
}

/**
 * @param {string} directory
 * @param {string} lockFile
 * @returns {number} exit status
 */
function report(directory, lockFile) {
  if (!statSync(join(directory, 'npm'), { throwIfNoEntry: false })?.isDirectory()) {
    console.error(`${directory} has no folder npm: expected a checkout of gemnasium-db`);
    return 2;
  }
  const locked = lockedPackages(lockFile);
  let versionCount = 0;
  let compared = 0;
  let newest = '';
  const findings = [];
  for (const [name, versions] of locked) {
    const advisories = advisoriesOf(directory, name);
    compared += advisories.length;
    for (const version of versions) {
      versionCount++;
      for (const { id, range, title, published, severity } of advisories) {
        if (published > newest) newest = published;
        if (isAffected(version, range)) findings.push(`${name} ${version}: ${id} (${range}) ${title} ${severity}`);
      }
    }
  }
  if (compared === 0) {
    console.error(`${directory} knows none of the ${locked.size} packages: expected advisories of some of them`);
    return 2;
  }
  for (const finding of findings) console.log(finding);
  console.log(
    `${versionCount} packages, ${compared} advisories of them, the newest of ${newest}: ${findings.length} apply`,
  );
  return findings.length === 0 ? 0 : 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [directory, ...rest] = process.argv.slice(2);
  if (directory === undefined || rest.length > 0) {
    console.error('usage: npm run audit:advisories -- DIRECTORY (a checkout of gemnasium-db)');
    process.exitCode = 2;
  } else process.exitCode = report(directory, fileURLToPath(new URL('../package-lock.json', import.meta.url)));
}
