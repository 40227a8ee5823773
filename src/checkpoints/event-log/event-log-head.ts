import { randomUUID } from 'node:crypto';
import { CorruptionError } from '../../base/errors.js';
import { openRecord, sealRecord } from '../../records/envelope.js';
import { encodeId } from '../../records/keys.js';
import type { StoredEntry, Version } from '../../storage/adapter.js';

/*
 * The events of a session are a tree that only grows. Its root is the head, one key that is changed by compare-and-swap;
 * it holds the newest events as lines, the tail. A tail that gets long is moved into a record that never changes, a range;
 * when there are 16 ranges, the links to them are moved into a range one level higher, and so on:
 *
 *   head [ 1-640 ] [ 641-680, 681-720 ] tail 721-733
 *             |          |        |
 *   level 1  [ 1-40, 41-80, ... 601-640 ]
 *             |     |
 *   level 0  lines lines ...
 *
 * Every link has the SHA-256 of what it leads to, so what proves the head proves every event, and a reader goes straight
 * to the events it wants and forwards from there. Ranges are written before the head that names them: a crash in between
 * leaves some that nobody names, and the same move, done again, gives the same keys and the same bytes.
 */

/** What leads to a range: the positions in it, and the SHA-256 of its body. */
export interface RangeLink {
  readonly from: number;
  readonly to: number;
  readonly sha256: string;
}

/** The root of a session's events. */
export interface LogHead {
  readonly session: string;
  /** Random, for life: a log that is begun again after a delete is another. */
  readonly log: string;
  /** Of the newest event; 0 if there are none. */
  readonly position: number;
  /** Position of the first line of the tail. */
  readonly tailFrom: number;
  /** Links by level, lowest first. The higher the level, the older the events. */
  readonly levels: readonly (readonly RangeLink[])[];
  /** Lines, each ended by a line feed. */
  readonly tail: Buffer;
}

/** A head as it stands in a storage; `version` is `null` if there is none yet. */
export interface StoredLogHead extends LogHead {
  readonly version: Version | null;
}

/** Where the records of one session stand. */
export interface EventLogKeys {
  readonly head: string;
  /** What the keys of its ranges begin with. */
  readonly ranges: string;
}

/** A link as it is stored: the head has many, and is written with every append. */
export type LinkParts = readonly [from: number, to: number, sha256: string];

interface HeadMeta extends Omit<LogHead, 'levels' | 'tail'> {
  readonly levels: readonly (readonly LinkParts[])[];
}

/** What the keys of all heads begin with. */
export const HEADS = 'events/heads/';
const RANGES = 'events/ranges/';

/** @throws InvalidInputError if this cannot name a session. */
export function eventLogKeys(session: string): EventLogKeys {
  const encoded = encodeId(session, 'session');
  return { head: `${HEADS}${encoded}`, ranges: `${RANGES}${encoded}/` };
}

/** The log of a session that has no events yet. */
export function newLog(session: string): StoredLogHead {
  return { session, log: randomUUID(), position: 0, tailFrom: 1, levels: [], tail: Buffer.alloc(0), version: null };
}

/** The head as it is stored under `key`. */
export function sealLogHead(key: string, { session, log, position, tailFrom, levels, tail }: LogHead): Buffer {
  const meta: HeadMeta = { session, log, position, tailFrom, levels: levels.map((links) => links.map(partsOf)) };
  return sealRecord({ key, id: randomUUID(), parent: null, meta }, tail).bytes;
}

/**
 * Proves and reads a head.
 * @throws CorruptionError if it is not what was written under its key, or may not be the newest that was written.
 */
export function openLogHead(entry: StoredEntry): StoredLogHead {
  const { key, value, version } = entry;
  refuseSuspect(entry);
  const { header, body } = openRecord(key, value, isHeadMeta);
  const { session, log, position, tailFrom, levels } = header.meta;
  if (eventLogKeys(session).head !== key) {
    throw new CorruptionError(`The record "${key}" says it belongs to session "${session}".`, key);
  }
  return { session, log, position, tailFrom, levels: levels.map((links) => links.map(linkOf)), tail: body, version };
}

/** @throws CorruptionError for an entry that may not be the newest that was written under its key. */
export function refuseSuspect({ key, suspect }: StoredEntry): void {
  if (suspect !== true) return;
  const message = `The store is damaged: "${key}" may not be the newest that was written. Nothing goes on from it: look at the store with its repair.`;
  throw new CorruptionError(message, key);
}

export function partsOf({ from, to, sha256 }: RangeLink): LinkParts {
  return [from, to, sha256];
}

export function linkOf([from, to, sha256]: LinkParts): RangeLink {
  return { from, to, sha256 };
}

function isHeadMeta(meta: unknown): meta is HeadMeta {
  if (typeof meta !== 'object' || meta === null) return false;
  const { session, log, position, tailFrom, levels } = meta as Partial<Record<keyof HeadMeta, unknown>>;
  return (
    typeof session === 'string' &&
    typeof log === 'string' &&
    [position, tailFrom].every(Number.isSafeInteger) &&
    Array.isArray(levels) &&
    levels.every((links) => Array.isArray(links) && links.every(isLinkParts))
  );
}

function isLinkParts(parts: unknown): boolean {
  if (!Array.isArray(parts)) return false;
  const [from, to, sha256] = parts as readonly unknown[];
  return [from, to].every(Number.isSafeInteger) && typeof sha256 === 'string';
}
