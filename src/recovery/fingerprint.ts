import { sha256Hex } from '../base/digest.js';
import { propertyOf } from '../policies/http-failure.js';

/** Longest message that is looked at, in characters: some hold the page they were answered with. */
const MAX_MESSAGE = 1_000;
/** Characters of the digest that are kept: 64 bits, for grouping. */
const DIGEST_LENGTH = 16;

/** What differs between two occurrences of the same failure. In this order: a UUID is made of numbers. */
const PARTICULARS: readonly (readonly [RegExp, string])[] = [
  [/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/gi, '<uuid>'],
  [/[a-z][a-z0-9+.-]{1,20}:\/\/[^\s'")]+/gi, '<url>'],
  [/(?:[a-z]:\\|\.{0,2}\/)[^\s'":,)]+/gi, '<path>'],
  [/\b(?:0x)?(?=[0-9a-f]*\d)[0-9a-f]{6,}\b/gi, '<hex>'],
  [/\d+/g, '<n>'],
];

const FRAME = /^\s*at .+/;
const FOREIGN_FRAME = /node:|node_modules|<anonymous>\)?$|\(native\)/;
/** `:12:34` behind a file: it moves with every edit. */
const POSITION = /:\d+(?::\d+)?(?=\)?$)/;
/** Everything up to the file's own name: it differs between machines. */
const FOLDERS = /(?:file:\/\/)?(?:[a-z]:)?[\\/](?:[^\\/()]+[\\/])*/gi;

/**
 * Equal for failures that look alike, whatever they happened to: 16 hexadecimal digits of the SHA-256 of the error's name,
 * its code, its message without what differs from time to time (numbers, hexadecimal, UUIDs, URLs, paths), and the first
 * frame of its stack that is neither Node's nor a dependency's, without folders and line numbers. `undefined` where there is
 * nothing to tell it by: no error was given. Never throws.
 */
export function fingerprintOf(error: unknown): string | undefined {
  if (error === undefined) return undefined;
  const parts = [textOf(error, 'name'), textOf(error, 'code'), blurred(messageOf(error)), ownFrame(error)];
  return sha256Hex(JSON.stringify(parts)).slice(0, DIGEST_LENGTH);
}

function blurred(message: string): string {
  return PARTICULARS.reduce((text, [pattern, mark]) => text.replace(pattern, mark), message.slice(0, MAX_MESSAGE));
}

function ownFrame(error: unknown): string {
  const lines = textOf(error, 'stack').slice(-10_000).split('\n');
  const own = lines.find((line) => FRAME.test(line) && !FOREIGN_FRAME.test(line));
  return own === undefined ? '' : own.trim().replace(POSITION, '').replace(FOLDERS, '');
}

function messageOf(error: unknown): string {
  return typeof error === 'object' && error !== null ? textOf(error, 'message') : String(error);
}

function textOf(error: unknown, name: string): string {
  const value = propertyOf(error, name);
  return typeof value === 'string' || typeof value === 'number' ? String(value) : '';
}
