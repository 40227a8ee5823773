import * as z from 'zod';
import { CorruptionError } from '../base/errors.js';
import { uniqueId } from '../base/unique-id.js';
import { decodeValue } from '../records/decode.js';
import { encodeValue } from '../records/encode.js';
import { openRecord, sealRecord } from '../records/envelope.js';
import { encodeId } from '../records/keys.js';
import { ConflictError, OutcomeUnknownError, type StorageAdapter, type Version } from '../storage/adapter.js';
import type { RecoveryInput } from './recovery-record.js';

/** Every attempt that fails is one in which somebody else changed the record, so this many may do so at once. */
const MAX_ATTEMPTS = 20;

/** What is remembered of a subject between its recoveries. */
export interface SubjectState {
  /** Of its newest recovery; 0 if it never had one. */
  readonly number: number;
  /** What that began with, while it is not known to have ended. */
  readonly open?: RecoveryInput;
  /** The newest was suppressed, and nobody has given the budget back. */
  readonly isSuppressed: boolean;
  /** Labels: when the recoveries began that may count against the budget. */
  readonly startsAtMs: readonly number[];
}

const metaSchema = z.object({
  subject: z.string(),
  number: z.int().min(0),
  isOpen: z.boolean(),
  isSuppressed: z.boolean(),
  startsAtMs: z.array(z.number()),
});

type SubjectMeta = z.output<typeof metaSchema>;

const NEVER: SubjectState = { number: 0, isSuppressed: false, startsAtMs: [] };
const NOTHING = Buffer.alloc(0);

/** One record for each subject, changed by compare-and-swap: who recovers it, and how often it was recovered. */
export class SubjectRecords {
  readonly #storage: StorageAdapter;
  readonly #prefix: string;

  constructor(storage: StorageAdapter, prefix: string) {
    this.#storage = storage;
    this.#prefix = prefix;
  }

  /** @throws CorruptionError if the record is damaged, or may not be the newest. */
  async read(subject: string): Promise<SubjectState> {
    return (await this.#read(subject)).state;
  }

  /**
   * Changes the state to what `next` makes of it; `undefined`: it stays. Asked again when somebody else was faster, or the
   * answer of the storage got lost: the second time it finds what it made, or what was made of that.
   * @returns what is stored then
   */
  async change(
    subject: string,
    next: (state: SubjectState) => SubjectState | undefined | Promise<SubjectState | undefined>,
  ): Promise<SubjectState> {
    for (let attempt = 1; ; attempt++) {
      const { state, version } = await this.#read(subject);
      const changed = await next(state);
      if (changed === undefined) return state;
      try {
        await this.#write(subject, changed, version);
        return changed;
      } catch (error) {
        const isAnotherTry = error instanceof ConflictError || error instanceof OutcomeUnknownError;
        if (!isAnotherTry || attempt === MAX_ATTEMPTS) throw error;
      }
    }
  }

  /** The recovery of this number is known to have ended. */
  async settle(subject: string, number: number): Promise<void> {
    await this.change(subject, ({ open, ...state }) =>
      open !== undefined && state.number === number ? state : undefined,
    );
  }

  /** A person has seen to it: the recovery of this number has ended, and the subject gets its budget back. */
  async forgive(subject: string, number: number): Promise<void> {
    await this.change(subject, ({ open, ...state }) => {
      const isOpen = open !== undefined && state.number !== number;
      const isForgiven = !state.isSuppressed && state.startsAtMs.length === 0 && isOpen === (open !== undefined);
      return isForgiven ? undefined : { ...state, ...(isOpen && { open }), isSuppressed: false, startsAtMs: [] };
    });
  }

  async #read(subject: string): Promise<{ readonly state: SubjectState; readonly version: Version | null }> {
    const key = this.#key(subject);
    const entry = await this.#storage.get(key);
    if (entry === undefined) return { state: NEVER, version: null };
    if (entry.suspect) {
      const message = `"${key}" may be older than what was written last: the store is damaged behind it. Repair the store.`;
      throw new CorruptionError(message, key);
    }
    const { header, body } = openRecord(key, entry.value, isSubjectMeta);
    const { subject: owner, isOpen, ...state } = header.meta;
    if (owner !== subject) throw new CorruptionError(`The record "${key}" says it belongs to "${owner}".`, key);
    const open = isOpen ? { open: decodeValue(body, undefined, key) as RecoveryInput } : {};
    return { state: { ...state, ...open }, version: entry.version };
  }

  async #write(subject: string, { open, ...state }: SubjectState, ifVersion: Version | null): Promise<void> {
    const key = this.#key(subject);
    const meta: SubjectMeta = { subject, isOpen: open !== undefined, ...state, startsAtMs: [...state.startsAtMs] };
    const body = open === undefined ? NOTHING : encodeValue(open);
    const { bytes } = sealRecord({ key, id: uniqueId(), parent: null, meta }, body);
    await this.#storage.put(key, bytes, { ifVersion });
  }

  #key(subject: string): string {
    return `${this.#prefix}subjects/${encodeId(subject, 'failure.subject')}`;
  }
}

function isSubjectMeta(meta: unknown): meta is SubjectMeta {
  return metaSchema.safeParse(meta).success;
}
