import type { ListOptions } from '../adapter.js';

/**
 * The command that lists keys of a prefix behind `after`, with the bounds to give it: `[` includes what follows it, `(`
 * does not. The server compares bytes, so `after` may be any text.
 */
export function listRange(prefix: string, { after, reverse = false }: ListOptions): [string, Buffer, Buffer] {
  const first = Buffer.from(prefix);
  const behind = behindAll(first);
  const start = after === undefined ? undefined : Buffer.from(after);
  if (reverse) {
    const isWithin = start !== undefined && (behind === undefined || Buffer.compare(start, behind) < 0);
    return ['ZREVRANGEBYLEX', isWithin ? bound('(', start) : upTo(behind), bound('[', first)];
  }
  const isWithin = start !== undefined && Buffer.compare(start, first) >= 0;
  return ['ZRANGEBYLEX', isWithin ? bound('(', start) : bound('[', first), upTo(behind)];
}

/** The least text that sorts behind every key of the prefix; `undefined` if the prefix is empty. Keys are ASCII. */
function behindAll(prefix: Buffer): Buffer | undefined {
  const behind = Buffer.from(prefix);
  const last = behind.at(-1);
  if (last === undefined) return undefined;
  behind[behind.length - 1] = last + 1;
  return behind;
}

function upTo(behind: Buffer | undefined): Buffer {
  return behind === undefined ? Buffer.from('+') : bound('(', behind);
}

function bound(kind: '[' | '(', text: Buffer): Buffer {
  return Buffer.concat([Buffer.from(kind), text]);
}
