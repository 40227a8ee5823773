import { CorruptionError } from '../base/errors.js';
import type { Resolution, StepStatus, StuckReason } from './transaction.js';

/** What a `resolve` makes of a step: `unrecorded` runs again, as if it had never been tried. */
export type ResolvedStep = Extract<StepStatus, 'done' | 'failed' | 'compensated' | 'skipped'> | 'unrecorded';

/** One fact of a transaction's journal. What carries a value says so; the value is kept beside it, encoded. */
export type JournalFact =
  /** Value: the input. */
  | { readonly type: 'begun' }
  | { readonly type: 'taken-over'; readonly fence: number; readonly owner: string; readonly from: string | null }
  /** A `once` step is about to run. */
  | { readonly type: 'announced'; readonly step: string; readonly isPivot?: true }
  /** Value: the result, unless it `isLost`: then it could not be kept. */
  | {
      readonly type: 'done';
      readonly step: string;
      readonly isPivot?: true;
      readonly isRead?: true;
      readonly isLost?: true;
    }
  /** Nothing happened. Value: the error, unless that was found out afterwards. */
  | { readonly type: 'failed'; readonly step: string; readonly isPivot?: true }
  /** It may have happened. Value: the error. */
  | { readonly type: 'unknown'; readonly step: string; readonly isPivot?: true }
  | { readonly type: 'cancel-requested'; readonly reason: string }
  /** The way back begins, of the whole or of one nest, and is never left again. Value: the cause. */
  | { readonly type: 'compensating'; readonly nest?: string; readonly isSealed: boolean }
  /** From here on a step without a record never ran. Before that, a process that died may have begun it. */
  | { readonly type: 'sealed'; readonly nest?: string }
  | { readonly type: 'compensated'; readonly step: string }
  | { readonly type: 'nest-rolled-back'; readonly nest: string }
  /** Value: the error behind it, if there is one. */
  | { readonly type: 'stuck'; readonly reason: StuckReason; readonly step?: string; readonly isUnclean?: true }
  /** Value: the result that a person gave. `cause`: of a rollback, encoded. */
  | {
      readonly type: 'resolved';
      readonly do: Resolution['do'];
      readonly step?: string;
      readonly becomes?: ResolvedStep;
      readonly cause?: string;
    }
  /** Let go of. `isUnclean`: a step may have been begun of which there is no record, as after a crash. */
  | { readonly type: 'released'; readonly isUnclean?: true }
  /** Value: the result of the whole. */
  | { readonly type: 'finished' }
  | { readonly type: 'rolled-back'; readonly compensated: readonly string[]; readonly leftBehind: readonly string[] };

/** A fact as it stands in the journal. */
export type JournalEntry = JournalFact & {
  /** When it was written, milliseconds since 1970: a label. */
  readonly atMs: number;
  /** Encoded by the codec of records. */
  readonly value?: Buffer;
};

const TYPES: ReadonlySet<string> = new Set<JournalFact['type']>([
  'begun',
  'taken-over',
  'announced',
  'done',
  'failed',
  'unknown',
  'cancel-requested',
  'compensating',
  'sealed',
  'compensated',
  'nest-rolled-back',
  'stuck',
  'resolved',
  'released',
  'finished',
  'rolled-back',
]);

const TAB = 9;

/** `fact` as an entry. Spread last: V8 adds properties behind a spread one by one, at ten times the price. */
export function entryOf(fact: JournalFact, atMs: number, value: Buffer | undefined): JournalEntry {
  return value === undefined ? { atMs, ...fact } : { atMs, value, ...fact };
}

/** An entry as one line: its facts as JSON and, behind a tab, its value. JSON escapes tabs and line ends. */
export function encodeEntry({ value, ...facts }: JournalEntry): Buffer {
  const text = JSON.stringify(facts);
  if (value === undefined) return Buffer.from(text);
  const tabAt = Buffer.byteLength(text);
  const line = Buffer.allocUnsafe(tabAt + 1 + value.length);
  line.write(text);
  line[tabAt] = TAB;
  line.set(value, tabAt + 1);
  return line;
}

/** @throws CorruptionError for a line that `encodeEntry` cannot have written, or that a newer version wrote. */
export function decodeEntry(line: Buffer, key: string): JournalEntry {
  const tab = line.indexOf(TAB);
  const facts = parseFacts(tab < 0 ? line : line.subarray(0, tab), key);
  return tab < 0 ? facts : { ...facts, value: line.subarray(tab + 1) };
}

function parseFacts(json: Buffer, key: string): JournalEntry {
  let facts: unknown;
  try {
    facts = JSON.parse(json.toString('utf8'));
  } catch (cause) {
    throw new CorruptionError(`The journal "${key}" has a line that is not JSON.`, key, { cause });
  }
  const { type, atMs, step } = (facts ?? {}) as { type?: unknown; atMs?: unknown; step?: unknown };
  if (
    typeof type === 'string' &&
    TYPES.has(type) &&
    typeof atMs === 'number' &&
    ['undefined', 'string'].includes(typeof step)
  )
    return facts as JournalEntry;
  const message = `The journal "${key}" has an entry of type ${JSON.stringify(type)}: damaged, or written by a newer holdfast.`;
  throw new CorruptionError(message, key);
}
