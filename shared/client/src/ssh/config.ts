// SPDX-License-Identifier: Apache-2.0
/**
 * What ssh_config(5) files say of a host, as far as that decides where one arrives and as whom. Pure: files come in through
 * ConfigFiles.
 *
 * As in OpenSSH the first value counts, the user's file goes before the system's, and Host and Match say for whom the lines
 * below them are. Nothing is executed: a line that would count, but depends on what is not evaluated here (Match exec), and a
 * ProxyCommand, are refused; everything else that is not among the followed keywords is left out.
 */
import { type Directive, directiveOf } from './config-words.js';
import { matchesPatterns } from './pattern.js';
import { sshError } from './ssh-error.js';

export interface ConfigFiles {
  /** undefined: there is none. Fails as AgentError, such as where others may write it. */
  read(path: string): string | undefined;
  /** Paths of files that a pattern of the shell names, sorted. */
  matching(pattern: string): readonly string[];
}

/** As files have them: with ~ and % in them. */
export interface HostSettings {
  readonly hostName?: string;
  readonly user?: string;
  readonly port?: number;
  readonly identityFiles: readonly string[];
  readonly identitiesOnly: boolean;
  /** A path, "none", "SSH_AUTH_SOCK" or "$NAME". */
  readonly identityAgent?: string;
  /** "[user@]host[:port]" each, the first to be connected to first. */
  readonly jumps: readonly string[];
  readonly userKnownHostsFiles?: readonly string[];
  readonly globalKnownHostsFiles?: readonly string[];
  readonly hostKeyAlias?: string;
  readonly hashKnownHosts: boolean;
  readonly serverAliveIntervalS?: number;
  readonly serverAliveCountMax?: number;
}

export interface ConfigPlaces {
  readonly home: string;
  /** /etc/ssh */
  readonly systemDirectory: string;
  /** Who runs this. "": a user without a name, as in some containers. */
  readonly localUser: string;
}

/** Whether lines count: where that depends on what is not evaluated, "unknown" is why. */
type Applies = boolean | { readonly unknown: string };

const DEPTH_MAX = 16;
const FILES_MAX = 256;
const LINES_MAX = 100_000;
const IDENTITIES_MAX = 100;

/** Fails as AgentError 'failed', with file and line. user: the one that is given beside the host, for Match. */
export function settingsOf(
  host: string,
  user: string | undefined,
  files: ConfigFiles,
  places: ConfigPlaces,
): HostSettings {
  const { home, systemDirectory } = places;
  const reading = new Reading(host, user, files, places);
  reading.file(`${home}/.ssh/config`, `${home}/.ssh`, true, 0);
  reading.file(`${systemDirectory}/ssh_config`, systemDirectory, true, 0);
  return reading.settings();
}

/** Keywords whose first value counts. ProxyJump and ProxyCommand are one: whichever is first. */
const SINGLE = new Set([
  'hostname',
  'user',
  'port',
  'identitiesonly',
  'identityagent',
  'proxyjump',
  'proxycommand',
  'userknownhostsfile',
  'globalknownhostsfile',
  'hostkeyalias',
  'hashknownhosts',
  'serveraliveinterval',
  'serveralivecountmax',
]);

interface Value {
  readonly words: readonly string[];
  /** "FILE:LINE" */
  readonly at: string;
}

class Reading {
  private readonly host: string;
  private readonly givenUser: string | undefined;
  private readonly files: ConfigFiles;
  private readonly places: ConfigPlaces;
  private readonly values = new Map<string, Value>();
  private readonly identities: string[] = [];
  private filesRead = 0;
  private linesRead = 0;

  constructor(host: string, givenUser: string | undefined, files: ConfigFiles, places: ConfigPlaces) {
    this.host = host;
    this.givenUser = givenUser;
    this.files = files;
    this.places = places;
  }

  /** directory: what relative names of Include begin at. */
  file(path: string, directory: string, within: Applies, depth: number): void {
    if (++this.filesRead > FILES_MAX) throw sshError('failed', `${path}: more than ${FILES_MAX} files are included`);
    const text = this.files.read(path);
    if (text === undefined) return;
    let applies: Applies = within;
    for (const [index, line] of text.split('\n').entries()) {
      const at = `${path}:${index + 1}`;
      if (++this.linesRead > LINES_MAX) throw sshError('failed', `${at}: more than ${LINES_MAX} lines`);
      const directive = parsed(line, at);
      if (directive === undefined) continue;
      const { keyword, words } = directive;
      if (keyword === 'host') applies = both(within, matchesPatterns(this.host, words));
      else if (keyword === 'match') applies = both(within, this.matches(words));
      else if (applies === false) continue;
      else if (keyword === 'include') this.include(words, directory, applies, depth, at);
      else this.take(keyword, words, applies, at);
    }
  }

  settings(): HostSettings {
    const one = (keyword: string): string | undefined => this.values.get(keyword)?.words[0];
    const several = (keyword: string): readonly string[] | undefined => this.values.get(keyword)?.words;
    const optional = <K extends string, T>(key: K, value: T | undefined): { [P in K]?: T } =>
      (value === undefined ? {} : { [key]: value }) as { [P in K]?: T };
    return {
      ...optional('hostName', one('hostname')),
      ...optional('user', one('user')),
      ...optional('port', this.number('port', 1, 65_535)),
      identityFiles: this.identities,
      identitiesOnly: this.isYes('identitiesonly'),
      ...optional('identityAgent', one('identityagent')),
      jumps: this.jumps(),
      ...optional('userKnownHostsFiles', several('userknownhostsfile')),
      ...optional('globalKnownHostsFiles', several('globalknownhostsfile')),
      ...optional('hostKeyAlias', one('hostkeyalias')),
      hashKnownHosts: this.isYes('hashknownhosts'),
      ...optional('serverAliveIntervalS', this.number('serveraliveinterval', 0, 86_400)),
      ...optional('serverAliveCountMax', this.number('serveralivecountmax', 0, 1_000)),
    };
  }

  private take(keyword: string, words: readonly string[], applies: Exclude<Applies, false>, at: string): void {
    const slot = keyword === 'proxycommand' ? 'proxyjump' : keyword;
    const counts = keyword === 'identityfile' ? !this.identities.includes(words[0] ?? '') : !this.values.has(slot);
    if ((keyword !== 'identityfile' && !SINGLE.has(keyword)) || !counts) return;
    if (applies !== true) {
      const fix = 'write the lines that Marcher needs above it, for a Host';
      throw sshError('failed', `${at}: whether this counts for ${this.host} depends on ${applies.unknown}; ${fix}`);
    }
    if (words.length === 0) throw sshError('failed', `${at}: there is nothing after ${keyword}`);
    if (keyword === 'identityfile') {
      if (this.identities.length >= IDENTITIES_MAX) throw sshError('failed', `${at}: more than ${IDENTITIES_MAX} keys`);
      this.identities.push(words[0] ?? '');
      return;
    }
    if (keyword === 'proxycommand' && words[0]?.toLowerCase() !== 'none') {
      const fix = 'name jump hosts with ProxyJump above it, or forward a port by ssh yourself and use that';
      throw sshError('failed', `${at}: the way to ${this.host} is a ProxyCommand, and no command is run here; ${fix}`);
    }
    this.values.set(slot, { words, at });
  }

  private include(words: readonly string[], directory: string, applies: Applies, depth: number, at: string): void {
    if (depth >= DEPTH_MAX) throw sshError('failed', `${at}: files include each other more than ${DEPTH_MAX} deep`);
    for (const word of words) {
      const home = word.startsWith('~/') ? `${this.places.home}${word.slice(1)}` : word;
      const pattern = home.startsWith('/') ? home : `${directory}/${home}`;
      for (const path of this.files.matching(pattern)) this.file(path, directory, applies, depth + 1);
    }
  }

  /** A criterion that is false decides, also beside one that is not evaluated. */
  private matches(words: readonly string[]): Applies {
    let unknown: string | undefined;
    for (let at = 0; at < words.length; at++) {
      const word = words[at] ?? '';
      const negated = word.startsWith('!');
      const [criterion = '', joined] = (negated ? word.slice(1) : word).toLowerCase().split('=', 2);
      if (criterion === 'all') continue;
      if (criterion === 'canonical' || criterion === 'final') {
        unknown ??= `"Match ${criterion}", which is not evaluated here`;
        continue;
      }
      const list = joined ?? words[++at] ?? '';
      // As in OpenSSH, which does not do so for Host.
      const patterns = (criterion.endsWith('host') ? list.toLowerCase() : list).split(',');
      const text = this.criterion(criterion);
      if (text === undefined) unknown ??= `"Match ${criterion}", which is not evaluated here`;
      else if (matchesPatterns(text, patterns) === negated) return false;
    }
    return unknown === undefined ? true : { unknown };
  }

  private criterion(name: string): string | undefined {
    if (name === 'host') return this.values.get('hostname')?.words[0]?.replaceAll('%h', this.host) ?? this.host;
    if (name === 'originalhost') return this.host;
    if (name === 'user') return this.givenUser ?? this.values.get('user')?.words[0] ?? this.places.localUser;
    return name === 'localuser' ? this.places.localUser : undefined;
  }

  private jumps(): string[] {
    const value = this.values.get('proxyjump');
    const [word = 'none'] = value?.words ?? [];
    return word.toLowerCase() === 'none' ? [] : word.split(',').map((each) => each.trim());
  }

  private isYes(keyword: string): boolean {
    return /^(?:yes|true)$/i.test(this.values.get(keyword)?.words[0] ?? '');
  }

  private number(keyword: string, min: number, max: number): number | undefined {
    const value = this.values.get(keyword);
    if (value === undefined) return undefined;
    const number = seconds(value.words[0] ?? '', keyword === 'serveraliveinterval');
    if (number >= min && number <= max) return number;
    throw sshError('failed', `${value.at}: ${keyword} is no whole number from ${min} to ${max}`);
  }
}

/** sshd_config(5), TIME FORMATS, as far as one number goes. */
function seconds(text: string, isTime: boolean): number {
  const match = (isTime ? /^(\d{1,9})([smh]?)$/i : /^(\d{1,9})()$/).exec(text);
  const factor = { '': 1, s: 1, m: 60, h: 3_600 }[match?.[2]?.toLowerCase() ?? ''] ?? 1;
  return match === null ? Number.NaN : Number(match[1]) * factor;
}

function both(within: Applies, here: Applies): Applies {
  if (within === false || here === false) return false;
  return within === true ? here : within;
}

function parsed(line: string, at: string): Directive | undefined {
  try {
    return directiveOf(line);
  } catch (error) {
    throw sshError('failed', `${at}: ${(error as Error).message}`);
  }
}
