import type { JournalEntry } from './journal-entry.js';
import type { StepStatus } from './transaction.js';

/** What the journal says of one step. */
export interface StepRecord {
  readonly step: string;
  readonly status: StepStatus;
  /** Result or error, encoded. */
  readonly value: Buffer | undefined;
  readonly isPivot: boolean;
  /** It only reads: nothing to compensate. */
  readonly isRead: boolean;
  /** It happened, and its result could not be kept. */
  readonly isLost: boolean;
  readonly atMs: number;
}

/** What the journal says of a nest that failed. */
export interface NestRecord {
  /** Encoded. */
  readonly cause: Buffer;
  readonly isSealed: boolean;
  readonly isRolledBack: boolean;
}

/** Whether a step's record says how it ended, so that it need not run. */
export function isSettled({ status }: StepRecord): boolean {
  return status !== 'announced';
}

/** What a journal adds up to. Entries are applied in the order in which they are written. */
export class TransactionState {
  /** Encoded. */
  input: Buffer | undefined;
  /** Steps that a person sent back to the start: whether they happened is asked first, where `verify` can tell. */
  readonly sentBack = new Set<string>();
  /** By path, in the order they were first recorded. */
  readonly steps = new Map<string, StepRecord>();
  readonly nests = new Map<string, NestRecord>();
  /**
   * Paths of steps in the order they completed, or in which it became unknown whether they did. What became of them since is
   * in their records.
   */
  readonly completed = new Set<string>();
  /** Paths of steps that were compensated, in that order. */
  readonly compensated: string[] = [];
  /** A process died over it: steps without a record may have been begun. One that let go of it had recorded all. */
  hasCrashed = false;
  /** Why the whole goes back, encoded. */
  cause: Buffer | undefined;
  /** Once it goes back: a step without a record never ran. */
  isSealed = false;
  /** Why it is stuck or was rolled back, or what it gave, encoded. */
  outcome: Buffer | undefined;
  leftBehindAtEnd: readonly string[] = [];
  /** Nests that are rolled back. */
  readonly #rolledBack: string[] = [];

  apply(entry: JournalEntry): void {
    switch (entry.type) {
      case 'begun':
        this.input = entry.value;
        break;
      case 'taken-over':
        this.hasCrashed ||= entry.from !== null;
        break;
      case 'released':
        this.hasCrashed ||= entry.isUnclean === true;
        break;
      case 'announced':
      case 'failed':
      case 'unknown':
      case 'done':
        this.#record(entry.step, entry.type, entry);
        break;
      case 'compensated':
        this.compensated.push(entry.step);
        this.#change(entry.step, 'compensated');
        break;
      case 'compensating':
        this.#goBack(entry);
        break;
      case 'sealed':
        if (entry.nest === undefined) this.isSealed = true;
        else this.#changeNest(entry.nest, { isSealed: true });
        break;
      case 'nest-rolled-back':
        this.#changeNest(entry.nest, { isRolledBack: true });
        break;
      case 'stuck':
        this.hasCrashed ||= entry.reason === 'crash-loop' || entry.isUnclean === true;
        this.outcome = entry.value;
        break;
      case 'finished':
        this.outcome = entry.value;
        break;
      case 'rolled-back':
        this.outcome = this.cause;
        this.leftBehindAtEnd = entry.leftBehind;
        break;
      case 'resolved':
        this.#resolve(entry);
        break;
      default: // Who held it and who let go is in the record's header.
    }
  }

  /** May an earlier life have begun a step that has no record now? */
  mayHaveBegun(step: string): boolean {
    return this.hasCrashed || this.sentBack.has(step);
  }

  /** Steps below `prefix` whose effect stands, the last one first: what has to be compensated. */
  standing(prefix: string): StepRecord[] {
    const records = Array.from(this.completed, (path) => this.steps.get(path));
    return records
      .filter((record): record is StepRecord => record?.status === 'done' && this.#isOpen(record, prefix))
      .reverse();
  }

  /** The first step below `prefix` that happened, or may have, and that `isAskedFor` does not know. */
  missing(prefix: string, isAskedFor: (step: string) => boolean): string | undefined {
    const isOpen = ({ status }: StepRecord) => status === 'done' || status === 'announced' || status === 'unknown';
    for (const record of this.steps.values()) {
      if (isOpen(record) && this.#isOpen(record, prefix) && !isAskedFor(record.step)) return record.step;
    }
    return undefined;
  }

  /** Steps below `prefix` that may have happened. */
  unknown(prefix: string): StepRecord[] {
    return [...this.steps.values()].filter((record) => record.status === 'unknown' && this.#isOpen(record, prefix));
  }

  /** The first pivot below `prefix` that is done. */
  pivot(prefix: string): StepRecord | undefined {
    return this.standing(prefix).findLast(({ isPivot }) => isPivot);
  }

  /** After the way back: steps that had an effect, or may have, and that nothing took back. */
  leftBehind(): string[] {
    const left = [...this.steps.values()].filter(
      ({ status, isRead }) => !isRead && ['done', 'announced', 'unknown', 'skipped'].includes(status),
    );
    return left.map(({ step }) => step);
  }

  /** Is it below `prefix`, and not in a nest that is rolled back? What that left is left behind. */
  #isOpen({ step }: StepRecord, prefix: string): boolean {
    if (!step.startsWith(prefix)) return false;
    return !this.#rolledBack.some((nest) => step.startsWith(`${nest}/`));
  }

  #goBack({ nest, isSealed, value }: JournalEntry & { type: 'compensating' }): void {
    if (nest !== undefined) {
      this.nests.set(nest, { cause: value as Buffer, isSealed, isRolledBack: false });
      return;
    }
    this.cause = value;
    this.isSealed = isSealed;
  }

  #changeNest(nest: string, change: Partial<NestRecord>): void {
    this.nests.set(nest, { ...(this.nests.get(nest) as NestRecord), ...change });
    if (change.isRolledBack) this.#rolledBack.push(nest);
  }

  #record(
    step: string,
    status: StepStatus,
    entry: JournalEntry & { isPivot?: true; isRead?: true; isLost?: true },
  ): void {
    if (status === 'done' || status === 'unknown') this.completed.add(step);
    this.steps.set(step, {
      step,
      status,
      value: entry.value,
      isPivot: entry.isPivot === true || this.steps.get(step)?.isPivot === true,
      isRead: entry.isRead === true,
      isLost: entry.isLost === true,
      atMs: entry.atMs,
    });
  }

  #change(step: string, status: StepStatus): void {
    const record = this.steps.get(step);
    if (record !== undefined) this.steps.set(step, { ...record, status });
  }

  #resolve(entry: JournalEntry & { type: 'resolved' }): void {
    const { step, becomes } = entry;
    if (entry.do !== 'abandon') this.outcome = undefined;
    if (entry.do === 'rollback') {
      this.cause = Buffer.from(entry.cause ?? '');
      this.isSealed = !this.hasCrashed;
    }
    if (step === undefined || becomes === undefined) return;
    if (becomes === 'unrecorded') {
      this.steps.delete(step);
      this.sentBack.add(step);
    } else if (becomes === 'compensated') {
      this.compensated.push(step);
      this.#change(step, becomes);
    } else if (becomes === 'skipped' && this.steps.get(step)?.status === 'done') {
      this.#change(step, becomes); // Its effect stays: it is left behind.
    } else {
      this.#record(step, becomes, becomes === 'skipped' ? { ...entry, isRead: true } : entry);
    }
  }
}
