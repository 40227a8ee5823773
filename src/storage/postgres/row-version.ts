import type { Version } from '../adapter.js';

/**
 * The version of rows that stand for no write: a key that others must not create meanwhile is held by such a row, which is
 * gone at the commit and which nobody else ever sees.
 */
export const PLACEHOLDER = '';

/**
 * SQL for the version of a write: the next number of the sequence, padded so that versions sort as text like the numbers do,
 * and the mark of the write, by which it is known again.
 */
export function nextVersion(sequence: string, mark: string): string {
  return `${nextNumber(sequence)} || '.' || ${mark}`;
}

/** SQL for the version of the same write under the next number of the sequence. */
export function withNextNumber(sequence: string, version: string): string {
  return `${nextNumber(sequence)} || substr(${version}, ${NUMBER_DIGITS + 1})`;
}

function nextNumber(sequence: string): string {
  return `lpad(nextval('${sequence}')::text, ${NUMBER_DIGITS}, '0')`;
}

const NUMBER_DIGITS = 16;

/** The mark of the write that gave this version. */
export function markOf(version: Version): string {
  return version.slice(NUMBER_DIGITS + 1);
}

/** Is it the version of the write with this mark? */
export function isMarked(version: Version | undefined, mark: string): boolean {
  return version !== undefined && markOf(version) === mark;
}

/** A server does not take every string. One that is not printable is no version of ours: any other of that kind will do. */
export function comparable(ifVersion: Version): Version {
  return /^[ -~]+$/.test(ifVersion) ? ifVersion : 'no version';
}
