import { emit, type Sink } from '../../base/emit.js';
import { ClosedError, CorruptionError } from '../../base/errors.js';
import { type ReadOptions, StorageError, type StoredEntry } from '../adapter.js';
import { CommitQueue, type CommitTarget } from './commit-queue.js';
import { LogDirectory } from './directory.js';
import { SegmentDraft } from './draft.js';
import { said } from './file-errors.js';
import type { LogFileSystem } from './file-system.js';
import { encodeFrame } from './frame.js';
import { indexPieces } from './index-file.js';
import type { Segment } from './segment.js';
import type { StorageEvent, StorageRepair } from './storage-event.js';

/** What a log store is made with, all filled in. */
export interface LogSettings {
  readonly isSyncing: boolean;
  readonly verifyAtOpen: boolean;
  readonly compactAtBytes: number;
  readonly sink: Sink<StorageEvent> | undefined;
}

/** Log read anew at the next opening before an index file is worth its writing. */
const INDEX_EVERY_BYTES = 16 * 1024 * 1024;
/** ... and that many times what the last one took: with a million keys it is large itself. */
const INDEX_EVERY_INDEXES = 2;
const INDEX_AT_CLOSE_BYTES = 1;

/** A log is compacted when at least half of it is no longer in use, so that copying costs no more than writing did. */
const MIN_GARBAGE_RATIO = 0.5;

/** The log of one directory: which segment is in use, how it moves to the next one, and who may read and write. */
export class LogStore implements CommitTarget {
  readonly queue = new CommitQueue(this);
  readonly #directory: LogDirectory;
  readonly #settings: LogSettings;
  #segment: Segment;
  #moving: Promise<void> | undefined;
  #compacting: Promise<void> | undefined;
  #indexing: Promise<void> | undefined;
  /** The copy made ahead for the next segment, waiting for the seal. */
  #draft: SegmentDraft | undefined;
  /** After a failed compaction, the size at which the next one is worth trying. */
  #nextTryBytes = 0;
  #isClosed = false;

  private constructor(directory: LogDirectory, settings: LogSettings, segment: Segment) {
    this.#directory = directory;
    this.#settings = settings;
    this.#segment = segment;
  }

  static async open(path: string, fs: LogFileSystem, settings: LogSettings): Promise<LogStore> {
    const directory = await LogDirectory.open(path, fs);
    const store = new LogStore(directory, settings, await openNewest(directory));
    await store.#welcome(store.#segment);
    return store;
  }

  get path(): string {
    return this.#directory.path;
  }

  get isSyncing(): boolean {
    return this.#settings.isSyncing;
  }

  async get(key: string, options?: ReadOptions): Promise<StoredEntry | undefined> {
    let segment = await this.readable();
    while (segment.isRetired) segment = await this.readable(); // The log moved on while this call was resumed.
    const { replay } = segment;
    const entry = replay.index.get(key);
    if (entry === undefined) {
      if (replay.damage.length === 0) return undefined;
      throw new CorruptionError(`"${key}" may have been in a damaged part of ${segment.path}. See repair().`, key);
    }
    const value = await segment.read(key, entry, options);
    const stored = { key, value, version: entry.version };
    return replay.isSuspect(entry) ? { ...stored, suspect: true } : stored;
  }

  /** The newest segment, read to its end. A sealed one will do as long as nobody has published the next. */
  async readable(): Promise<Segment> {
    for (;;) {
      this.#requireOpen();
      const segment = this.#segment;
      const catchingUp = segment.catchUp();
      if (catchingUp) await catchingUp;
      if (segment.replay.sealedAt === undefined) return segment;
      if (segment === this.#segment && (await this.#directory.newestNumber()) === segment.number) return segment;
      await this.#move(segment);
    }
  }

  async writable(): Promise<Segment> {
    for (;;) {
      const segment = await this.readable();
      if (segment.isUnsyncable) await this.#seal(segment);
      if (segment.replay.sealedAt !== undefined) await this.#move(segment);
      else if (!segment.isNameOnDisk) await this.#directory.keepName(segment);
      else if (segment.file.isLinked()) return segment;
      else throw new StorageError(`${segment.path} was removed while it was open. Nothing is written any more.`);
    }
  }

  async abandon(segment: Segment, cause: unknown): Promise<void> {
    segment.isUnsyncable = true;
    const facts = { store: this.path, segment: segment.number, reason: said(cause) };
    emit(this.#settings.sink, { type: 'storage.sync-failed', ...facts });
    await this.#seal(segment);
    await this.#move(segment);
  }

  afterGroup(segment: Segment): void {
    const { compactAtBytes } = this.#settings;
    const size = segment.appliedTo;
    this.#rememberIndex(segment, Math.max(INDEX_EVERY_BYTES, INDEX_EVERY_INDEXES * segment.indexBytes));
    const isDue = size >= compactAtBytes && size >= this.#nextTryBytes;
    const isWorthIt = segment.replay.liveBytes <= size * (1 - MIN_GARBAGE_RATIO);
    if (isDue && isWorthIt && !this.#compacting && !this.#isClosed && segment === this.#segment) {
      this.#compacting = this.#compact(segment).finally(() => {
        this.#compacting = undefined;
      });
    }
  }

  /** Move to a segment without what is damaged. */
  async repair(): Promise<StorageRepair> {
    for (;;) {
      await this.#compacting;
      const segment = await this.writable();
      const draft = await this.#replace(segment, true, () => true).catch((error) => {
        if (segment.isRetired) return undefined; // Another process moved on while this one copied.
        throw error;
      });
      // Another process may have published its own next segment, damage and all: begin again from that.
      if (!draft?.isPublished) continue;
      const report = { ...draft.report(), unknownPlaces: segment.replay.damage.length };
      const isClean = report.dropped.length === 0 && report.unknownPlaces === 0;
      return isClean ? report : { ...report, damagedFile: this.#directory.damagedPath(segment.number) };
    }
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    await this.queue.drained();
    await this.#vouch(this.#segment);
    this.#isClosed = true;
    await this.#compacting;
    await this.#moving?.catch(() => undefined); // Its caller was told.
    this.#rememberIndex(this.#segment, INDEX_AT_CLOSE_BYTES);
    await this.#indexing;
    await this.#segment.retire();
  }

  /** Say in the log itself that all of it is on disk: what is found wrong afterwards is damage, not a torn write. */
  async #vouch({ replay, syncedTo }: Segment): Promise<void> {
    if (replay.durableTo >= syncedTo || replay.damage.length > 0) return;
    // Without it the last group is judged as after a crash: no reason to fail a close.
    await this.queue.submit({ operations: [], values: [] }).catch(() => undefined);
  }

  /** Write the index beside the log if enough has come since, and everything in it is on disk and undamaged. */
  #rememberIndex(segment: Segment, everyBytes: number): void {
    const { appliedTo, syncedTo, indexedTo, torn, replay } = segment;
    const isSound = replay.damage.length === 0 && replay.sealedAt === undefined && torn.length === 0;
    if (appliedTo - indexedTo < everyBytes || appliedTo !== syncedTo || !isSound || this.#indexing) return;
    segment.indexedTo = appliedTo;
    this.#indexing = this.#directory
      .writeIndex(segment.number, appliedTo, indexPieces(segment.number, appliedTo, replay))
      .then((bytes) => {
        segment.indexBytes = bytes;
      })
      .catch((error) => {
        const facts = { store: this.path, segment: segment.number, reason: said(error) };
        emit(this.#settings.sink, { type: 'storage.index-failed', ...facts });
      })
      .finally(() => {
        this.#indexing = undefined;
      });
  }

  #requireOpen(): void {
    if (this.#isClosed) throw new ClosedError(`The file store in ${this.path}`);
  }

  async #welcome(segment: Segment): Promise<void> {
    const { sink, verifyAtOpen } = this.#settings;
    const store = this.path;
    const { number, tornBytes, replay } = segment;
    if (tornBytes > 0) emit(sink, { type: 'storage.torn', store, segment: number, sizeBytes: tornBytes });
    let places = replay.damage.length;
    if (verifyAtOpen) {
      for (const [, entry] of [...replay.index]) if (!(await segment.readRaw(entry)).isIntact) places++;
    }
    if (places > 0) emit(sink, { type: 'storage.damaged', store, segment: number, places });
  }

  /** Write the seal past the queue, into a segment that cannot be synced any more. */
  async #seal(segment: Segment): Promise<void> {
    if (segment.replay.sealedAt !== undefined) return;
    const frame = encodeFrame(segment.start, { i: '-', seal: 1 });
    await segment.file.append(frame.chunks);
    await segment.catchUp();
    if (segment.replay.sealedAt === undefined) throw new StorageError(`${segment.path} could not be sealed.`);
  }

  /** Go on in the segment after `from`, which is sealed: publish it if nobody has. Concurrent calls share one move. */
  #move(from: Segment): Promise<void> {
    this.#moving ??= this.#moveOnce(from).finally(() => {
      this.#moving = undefined;
    });
    return this.#moving;
  }

  async #moveOnce(from: Segment): Promise<void> {
    if (from !== this.#segment) return;
    const isNewest = async () => (await this.#directory.newestNumber()) === from.number;
    const built = (await isNewest()) ? await this.#publishNext(from, isNewest) : undefined;
    const next = await openNewest(this.#directory, built);
    this.#segment = next;
    await this.#directory.removeOld(next.number);
    await from.retire();
    if (!built) return;
    const sizes = { beforeBytes: from.appliedTo, afterBytes: next.appliedTo };
    emit(this.#settings.sink, {
      type: 'storage.compacted',
      store: this.path,
      segment: next.number,
      ...sizes,
    });
  }

  /** The draft that became the next segment; `undefined` if another process was first. */
  async #publishNext(from: Segment, isNewest: () => Promise<boolean>): Promise<SegmentDraft | undefined> {
    const ready = this.#draft?.isFor(from) ? this.#draft : undefined;
    if (ready) this.#draft = undefined;
    const draft = ready ?? (await SegmentDraft.begin(this.#directory, from, false));
    try {
      if (!ready && !(await draft.copyPresent(isNewest))) return undefined;
      // The bytes of damage must outlive the segment that holds them.
      if (from.replay.damage.length > 0 || draft.report().dropped.length > 0)
        await this.#directory.keepDamaged(from.number);
      return (await draft.publish()) ? draft : undefined;
    } finally {
      await draft.discard();
    }
  }

  async #compact(segment: Segment): Promise<void> {
    try {
      await this.#replace(segment, false, () => !this.#isClosed && segment === this.#segment);
    } catch (error) {
      if (this.#isClosed || segment.isRetired) return; // Given up, or another process was first: nothing has failed.
      // The log as it is goes on; it is only larger than it need be.
      this.#nextTryBytes = segment.appliedTo * 1.25;
      const facts = { store: this.path, segment: segment.number, reason: said(error) };
      emit(this.#settings.sink, { type: 'storage.compaction-failed', ...facts });
    }
  }

  /**
   * Copy what is in use, seal, move: writers only wait for what changed while the copy was made. The draft tells whether
   * it was published; `undefined` if `mayGoOn` ended the copying.
   */
  async #replace(segment: Segment, isRepair: boolean, mayGoOn: () => boolean): Promise<SegmentDraft | undefined> {
    const draft = await SegmentDraft.begin(this.#directory, segment, isRepair);
    try {
      if (!(await draft.copyPresent(mayGoOn))) return undefined;
      this.#draft = draft;
      await this.queue.submit({ operations: [], values: [], seals: segment });
      await this.writable();
      return draft;
    } finally {
      if (this.#draft === draft) this.#draft = undefined;
      await this.#moving?.catch(() => undefined); // Whoever moves was told.
      await draft.discard();
    }
  }
}

/** The newest segment, open. It may be replaced and removed between looking and opening: look again. */
async function openNewest(directory: LogDirectory, built?: SegmentDraft): Promise<Segment> {
  for (;;) {
    try {
      return await directory.openNewest(built);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
}
