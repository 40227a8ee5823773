import { REFERENCE_BYTES, REFERENCE_MARK, type Reference, STRING_PIECE, WHOLE_VALUE } from '../packs/chunk.js';

/** An item of an array, a member of an object, or a run of such that is a chunk of its own. */
export interface ListPart {
  /** A member's name; a run has none. */
  readonly name?: string;
  /** The canonical JSON of the value, in which references may stand; of a run, the reference to it. */
  readonly text: Buffer;
  /** How many items or members: 1, or those of the run. */
  readonly items: number;
  readonly isRun: boolean;
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const OPENING: ReadonlySet<number | undefined> = new Set([0x5b, 0x7b]);
const CLOSING: ReadonlySet<number | undefined> = new Set([0x5d, 0x7d]);

/**
 * What stands between the brackets of an array or object, or in a run of one, in order; `undefined` if that is not how
 * chunks are made. The parts are not looked into. A string that was cut is in pieces from its first quote to its last,
 * so outside of references quotes come in pairs.
 */
export function splitList(list: Buffer, isObject: boolean): ListPart[] | undefined {
  const parts: ListPart[] = [];
  for (let start = 0; start < list.length; ) {
    const end = endOfPart(list, start);
    const part = readPart(list.subarray(start, end), isObject);
    if (part === undefined) return undefined;
    parts.push(part);
    start = end + 1;
  }
  return parts;
}

/** The reference that all of the text is, if it is nothing else. */
export function asReference(text: Buffer): Reference | undefined {
  if (text.length !== REFERENCE_BYTES || text[0] !== REFERENCE_MARK) return undefined;
  const itemsAt = REFERENCE_BYTES - 4;
  return { id: text.toString('latin1', 1, itemsAt), items: text.readUInt32LE(itemsAt) };
}

/** How many items or members there are. */
export function itemsOf(parts: readonly ListPart[]): number {
  return parts.reduce((sum, { items }) => sum + items, 0);
}

function readPart(text: Buffer, isObject: boolean): ListPart | undefined {
  const { items = WHOLE_VALUE } = asReference(text) ?? {};
  if (items !== WHOLE_VALUE && items !== STRING_PIECE) return { text, items, isRun: true };
  if (!isObject) return text.length > 0 ? { text, items: 1, isRun: false } : undefined;
  const nameEnd = endOfString(text, 0) + 1;
  const name = text[0] === QUOTE && text[nameEnd] === COLON ? readName(text.toString('utf8', 0, nameEnd)) : undefined;
  return name === undefined ? undefined : { name, text: text.subarray(nameEnd + 1), items: 1, isRun: false };
}

function readName(json: string): string | undefined {
  try {
    return JSON.parse(json) as string; // It begins with a quote.
  } catch {
    return undefined; // Not JSON, so not a chunk of ours: the caller says so.
  }
}

/** Where the comma is that ends the part, or the end of all. */
function endOfPart(list: Buffer, start: number): number {
  let level = 0;
  for (let at = start; at < list.length; at++) {
    const byte = list[at];
    if (byte === QUOTE) at = endOfString(list, at);
    else if (byte === REFERENCE_MARK) at += REFERENCE_BYTES - 1;
    else if (OPENING.has(byte)) level++;
    else if (CLOSING.has(byte)) level--;
    else if (byte === COMMA && level === 0) return at;
  }
  return list.length;
}

/** Where the quote is that ends the string which begins at `start`. */
function endOfString(text: Buffer, start: number): number {
  let at = start + 1;
  while (at < text.length && text[at] !== QUOTE) at += text[at] === BACKSLASH ? 2 : 1;
  return at;
}
