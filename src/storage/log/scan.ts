import type { LogFile } from './file-system.js';
import {
  bodyStart,
  END_BYTES,
  endMark,
  type PlacedFrame,
  PREFIX_BYTES,
  parseHead,
  parsePrefix,
  ZERO_RUN,
} from './frame.js';

/** A stretch of a log that is no whole frame. */
export interface Gap {
  readonly from: number;
  readonly to: number;
  /** It is the beginning of a frame whose writer did not get to the end: never acknowledged. */
  readonly isCut: boolean;
  /** It holds a run of zero bytes that no intact frame holds: pages lost with the power, if it was never synced. */
  readonly hasZeros: boolean;
}

/** What a scan finds, in order. `unfinished` comes last if at all: the start of a frame that is not whole (yet). */
export type ScanItem =
  | { readonly type: 'frame'; readonly frame: PlacedFrame }
  | { readonly type: 'gap'; readonly gap: Gap }
  | { readonly type: 'unfinished'; readonly gap: Gap };

/** What stands at one place of a log. `front` is the frame up to its body. */
type Found =
  | { readonly is: 'frame'; readonly frame: PlacedFrame; readonly front: Buffer }
  | { readonly is: 'cut' | 'broken' }
  /** More of the file has to be read before it can be told. */
  | { readonly is: 'outside'; readonly length: number };

/** Bytes read at once: few where values are skipped, doubling while small frames follow each other. */
const MIN_WINDOW_BYTES = 64 * 1024;
const MAX_WINDOW_BYTES = 2 * 1024 * 1024;
/** Frames handed on together: a promise for each would cost more than the frame. */
const BATCH_FRAMES = 512;

/** The part of a file that is in memory. Frames inside it are told apart without waiting. */
class Window {
  #bytes: Buffer = Buffer.alloc(0);
  #start = 0;
  #size = MIN_WINDOW_BYTES;

  constructor(
    readonly file: LogFile,
    readonly end: number,
  ) {}

  /** Bytes from `position`, fewer than `length` only at the end of what is scanned; `undefined` if not in memory. */
  get(position: number, length: number): Buffer | undefined {
    const wanted = Math.min(length, this.end - position);
    const at = position - this.#start;
    return at >= 0 && at + wanted <= this.#bytes.length ? this.#bytes.subarray(at, at + wanted) : undefined;
  }

  async read(position: number, length: number): Promise<Buffer> {
    const present = this.get(position, length);
    if (present) return present;
    const isNextInLine = position <= this.#start + this.#bytes.length;
    this.#size = isNextInLine ? Math.min(this.#size * 2, MAX_WINDOW_BYTES) : MIN_WINDOW_BYTES;
    const wanted = Math.min(Math.max(length, this.#size), this.end - position);
    this.#bytes = await this.file.read(position, wanted);
    this.#start = position;
    return this.#bytes.subarray(0, length);
  }
}

/**
 * Walks the frames of `file` from `from` to `end`, a batch at a time. Values are skipped, not read. Where no frame
 * stands, the next one is searched for: nothing behind a damaged or torn frame is ever lost with it.
 */
export async function* scan(file: LogFile, from: number, end: number, start: Buffer): AsyncGenerator<ScanItem[]> {
  const window = new Window(file, end);
  let batch: ScanItem[] = [];
  let at = from;
  while (at < end) {
    let found = frontAt(window, at, start);
    while (found.is === 'outside') {
      const bytes = await window.read(at, found.length);
      found = bytes.length < found.length ? { is: 'broken' } : frontAt(window, at, start);
    }
    if (found.is === 'frame') found = await wholeFrame(window, found, start);
    if (found.is === 'frame') {
      batch.push({ type: 'frame', frame: found.frame });
      at = found.frame.end;
    } else {
      const next = await findFrame(window, at + 1, start);
      const to = next ?? end;
      const gap = { from: at, to, isCut: await isCut(window, at, to, start), hasZeros: await hasZeros(window, at, to) };
      batch.push({ type: next === undefined ? 'unfinished' : 'gap', gap });
      at = to;
    }
    if (batch.length < BATCH_FRAMES && at < end) continue;
    yield batch;
    batch = [];
  }
}

/** A frame by its prefix and head; whether it came to its end is not looked at. */
function frontAt(window: Window, at: number, start: Buffer): Found {
  const bytes = window.get(at, PREFIX_BYTES);
  if (bytes === undefined) return { is: 'outside', length: PREFIX_BYTES };
  const prefix = parsePrefix(bytes, start);
  if (prefix === undefined) return { is: 'broken' };
  const end = at + prefix.total;
  if (end > window.end) return { is: 'cut' };
  const bodyOffset = at + bodyStart(prefix.headLength);
  const front = window.get(at, bodyOffset - at);
  if (front === undefined) return { is: 'outside', length: bodyOffset - at };
  const head = parseHead(front, prefix.headLength);
  return head ? { is: 'frame', frame: { head, offset: at, bodyOffset, end }, front } : { is: 'broken' };
}

/** The same frame if its end mark is there; else what it is instead. */
async function wholeFrame(window: Window, found: Extract<Found, { is: 'frame' }>, start: Buffer): Promise<Found> {
  const markAt = found.frame.end - END_BYTES;
  const mark = window.get(markAt, END_BYTES) ?? (await window.read(markAt, END_BYTES));
  return mark.equals(endMark(found.front)) ? found : wornEnd(window, found, start);
}

/**
 * The head is intact and the end mark is not. If other frames begin inside, the writer was cut short and they were
 * appended behind it; if not, the frame is whole but for its mark, and its values answer for themselves.
 */
async function wornEnd(window: Window, found: Extract<Found, { is: 'frame' }>, start: Buffer): Promise<Found> {
  const { offset, end } = found.frame;
  const inside = await findFrame(window, offset + 1, start);
  return inside !== undefined && inside < end ? { is: 'cut' } : found;
}

/** Offset of the next place at or behind `from` where an intact head stands. */
async function findFrame(window: Window, from: number, start: Buffer): Promise<number | undefined> {
  let at = from;
  while (at + PREFIX_BYTES <= window.end) {
    const bytes = await window.read(at, MIN_WINDOW_BYTES);
    const found = bytes.indexOf(start);
    if (found < 0) {
      at += Math.max(bytes.length - start.length + 1, 1);
      continue;
    }
    at += found;
    const prefix = parsePrefix(await window.read(at, PREFIX_BYTES), start);
    if (prefix !== undefined && at + bodyStart(prefix.headLength) <= window.end) {
      const front = await window.read(at, bodyStart(prefix.headLength));
      if (parseHead(front, prefix.headLength) !== undefined) return at;
    }
    at += 1;
  }
  return undefined;
}

/** Whether what stands at `at` would be longer than the room it has: the lengths are intact, or it ends within them. */
async function isCut(window: Window, at: number, to: number, start: Buffer): Promise<boolean> {
  const bytes = await window.read(at, Math.min(PREFIX_BYTES, to - at));
  const prefix = parsePrefix(bytes, start);
  if (prefix !== undefined) return at + prefix.total > to;
  const shown = Math.min(bytes.length, start.length);
  return bytes.length < PREFIX_BYTES && bytes.compare(start, 0, shown, 0, shown) === 0;
}

async function hasZeros(window: Window, from: number, to: number): Promise<boolean> {
  // What follows a hole may begin right at its end: a shorter run counts if it is all that is left.
  if (to - from < ZERO_RUN.length) return (await window.read(from, to - from)).every((byte) => byte === 0);
  for (let at = from; at < to; at += MIN_WINDOW_BYTES - ZERO_RUN.length) {
    if ((await window.read(at, Math.min(MIN_WINDOW_BYTES, to - at))).includes(ZERO_RUN)) return true;
  }
  return false;
}
