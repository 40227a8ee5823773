import type { Version } from '../adapter.js';
import { KeyIndex } from '../key-index.js';
import type { FrameChange, FrameOperation, PlacedFrame } from './frame.js';

/** Where the value of a key stands, and what it must be. Never changed: a new write makes a new entry. */
export interface IndexEntry {
  readonly version: Version;
  readonly offset: number;
  readonly length: number;
  /** SHA-256 of the value, base64url. */
  readonly digest: string;
  /** The value holds long runs of zeros of its own. */
  readonly hasZeros: boolean;
  /** The value was found damaged when it was moved here; its bytes are no longer what the digest names. */
  readonly isBad: boolean;
}

/** What became of a change: it holds, or a condition of it did not. */
export type Outcome =
  | { readonly is: 'applied'; readonly version: Version; readonly existed: boolean }
  | { readonly is: 'conflict'; readonly key: string; readonly currentVersion: Version | undefined };

/** What became of the changes of a frame, in their order. A frame behind the seal is void, and none of them happened. */
export type FrameOutcome = readonly Outcome[] | 'void';

/** Bytes a moved entry takes beside its value and its key: the text around the key, and its part of a frame. */
const ENTRY_OVERHEAD_BYTES = 110;

const SEGMENT_DIGITS = 8;
const OFFSET_DIGITS = 15;

/**
 * A place in the log, as a version: grows with every offset and every segment, as a string. Change number `n` of a frame
 * has the version of the frame's offset plus `n`, since a frame has more bytes than changes.
 */
function versionAt(segment: number, offset: number): Version {
  return `${String(segment).padStart(SEGMENT_DIGITS, '0')}.${String(offset).padStart(OFFSET_DIGITS, '0')}`;
}

/**
 * What the frames of one segment add up to. Whether a condition held is decided here, by the order of the frames in
 * the file alone, so every process that reads the file decides alike and no lock is needed.
 */
export class Replay {
  readonly index = new KeyIndex<IndexEntry>();
  /** Frames behind this offset are void; their writers write them again into the next segment. */
  sealedAt: number | undefined;
  /** The frames that compaction wrote are all there. */
  isReady = false;
  /** The file is known to be on disk up to here, by what its own frames say. */
  durableTo = 0;
  /** Bytes the present keys would take in a fresh segment, about. */
  liveBytes = 0;
  /** Positions, as versions, of damage whose keys are not known. */
  readonly damage: Version[] = [];
  readonly #awaited = new Map<string, FrameOutcome | undefined>();
  readonly #watchers = new Set<Set<string>>();

  constructor(readonly segment: number) {}

  /** Add to `changed` each key that is put or deleted from now on, until `unwatch`. */
  watch(changed: Set<string>): void {
    this.#watchers.add(changed);
  }

  unwatch(changed: Set<string>): void {
    this.#watchers.delete(changed);
  }

  /** Keep the outcome of the frame with this id when it comes by. */
  await(id: string): void {
    this.#awaited.set(id, undefined);
  }

  /** The outcome of an awaited frame, once; `undefined` if no such frame is in the file. */
  take(id: string): FrameOutcome | undefined {
    const outcomes = this.#awaited.get(id);
    this.#awaited.delete(id);
    return outcomes;
  }

  apply(frame: PlacedFrame): void {
    const { head } = frame;
    const outcomes = this.sealedAt === undefined ? this.#decideAll(frame) : 'void';
    if (this.#awaited.has(head.i)) this.#awaited.set(head.i, outcomes);
    if (outcomes === 'void') return;
    if (head.d !== undefined) this.durableTo = Math.max(this.durableTo, head.d);
    if (head.seal) this.sealedAt = frame.offset;
    if (head.ready) this.isReady = true;
    for (const position of head.segment?.damage ?? []) this.damage.push(position);
  }

  /** Record damage of unknown keys: every value written before it may not be the newest. */
  addDamage(offset: number): void {
    const position = versionAt(this.segment, offset);
    if (!this.damage.includes(position)) this.damage.push(position);
  }

  /** Whether a newer value of the key may be lost in damage. */
  isSuspect(entry: IndexEntry): boolean {
    return this.damage.some((position) => position > entry.version);
  }

  #decideAll({ head: { o = [] }, offset, bodyOffset }: PlacedFrame): Outcome[] {
    let valueAt = bodyOffset;
    return o.map((change, place) => {
      const outcome = this.#decide(change, offset + place, valueAt);
      for (const { n = 0 } of change) valueAt += n;
      return outcome;
    });
  }

  #decide(change: FrameChange, offset: number, bodyOffset: number): Outcome {
    for (const { k, x } of change) {
      if (x === undefined) continue;
      const currentVersion = this.index.get(k)?.version;
      if ((currentVersion ?? null) !== x) return { is: 'conflict', key: k, currentVersion };
    }
    const version = versionAt(this.segment, offset);
    let existed = false;
    let valueAt = bodyOffset;
    for (const operation of change) {
      if (this.#change(operation, operation.v ?? version, valueAt)) existed = true;
      valueAt += operation.n ?? 0;
    }
    return { is: 'applied', version, existed };
  }

  /** Take over an entry that an index file remembers. */
  load(key: string, entry: IndexEntry): void {
    this.index.set(key, entry);
    this.liveBytes += movedBytes(key, entry.length);
  }

  /** Put or delete one key; true if it was there. */
  #change({ k, n, h, z, bad, del }: FrameOperation, version: Version, offset: number): boolean {
    if (n === undefined && !del) return false;
    for (const changed of this.#watchers) changed.add(k);
    const before = this.index.get(k);
    if (before) this.liveBytes -= movedBytes(k, before.length);
    if (del) this.index.delete(k);
    else {
      const entry = { version, offset, length: n as number, digest: h as string, hasZeros: z === 1, isBad: bad === 1 };
      this.index.set(k, entry);
      this.liveBytes += movedBytes(k, entry.length);
    }
    return before !== undefined;
  }
}

function movedBytes(key: string, valueBytes: number): number {
  return ENTRY_OVERHEAD_BYTES + key.length + valueBytes;
}
