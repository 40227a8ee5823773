import { FencedError } from '../../src/records/lease.js';
import { ConflictError, OutcomeUnknownError, type StorageAdapter } from '../../src/storage/adapter.js';
import { checked } from '../../src/storage/checked.js';
import { type SeededRandom, seededRandom } from '../../src/testing/seeded-random.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { TransactionStore } from '../../src/transactions/transaction-store.js';
import { plainStore } from '../testing/plain-store.js';
import { around, line, metaOf, TestHolder } from './journal-scene.js';

const ID = 'order-42';
const OPEN = 'transactions/open/';
const END = { status: 'done', owner: null } as const;

/** What it hears who was not the only one, or cannot know. */
const OUTRUN = [ConflictError, FencedError, OutcomeUnknownError];

/** What a process does with the one transaction there is. */
export type Act = 'live' | 'abandon' | 'delete' | 'recover';

/** What came of some schedules: there must be no violations, and enough of the rest to believe that. */
export interface MarksReport {
  readonly violations: string[];
  /** Marks that stood when all was over, with a head that has not ended and without one. */
  readonly marks: { open: number; stray: number };
  ends: number;
  deletes: number;
}

/**
 * Plays so many schedules of processes on a store of four methods: whose call comes next is drawn. After every call it is as
 * if all of them died: what is open must have its mark. `late`: a write may be told as of unknown outcome, and arrive at any
 * time afterwards.
 */
export async function playMarks(
  processes: readonly (readonly Act[])[],
  { schedules, late }: { readonly schedules: number; readonly late: boolean },
): Promise<MarksReport> {
  const report: MarksReport = { violations: [], marks: { open: 0, stray: 0 }, ends: 0, deletes: 0 };
  for (let seed = 1; seed <= schedules; seed++) await new MarkSchedule(seed, late, report).play(processes);
  return report;
}

class MarkSchedule {
  readonly #inner = checked(plainStore());
  readonly #clock = new VirtualClock();
  readonly #dice: SeededRandom;
  /** Calls that wait for their turn. */
  readonly #waiting: (() => void)[] = [];

  constructor(
    readonly seed: number,
    readonly late: boolean,
    readonly report: MarksReport,
  ) {
    this.#dice = seededRandom(seed);
  }

  async play(processes: readonly (readonly Act[])[]): Promise<void> {
    let running = processes.length;
    for (const acts of processes) {
      void this.#run(acts).finally(() => running--);
    }
    for (let calls = 0; running > 0 || this.#waiting.length > 0; calls++) {
      await this.#clock.advance(1_000);
      const [next] = this.#waiting.splice(this.#dice.integer(Math.max(1, this.#waiting.length)), 1);
      next?.();
      await this.#clock.advance(0);
      await this.#requireMark(calls);
      if (calls > 10_000) throw new Error(`Seed ${this.seed} does not end.`);
    }
    await this.#act(this.#inner, 'recover');
    const isOpen = (await this.#openJournal()) !== undefined;
    const marks = (await this.#inner.list(OPEN)).entries.length;
    this.report.marks.open += isOpen ? 1 : 0;
    this.report.marks.stray += marks - (isOpen ? 1 : 0);
  }

  async #run(acts: readonly Act[]): Promise<void> {
    for (const act of acts) {
      await this.#act(this.#scheduled(), act).catch((error: unknown) => {
        if (!OUTRUN.some((expected) => error instanceof expected))
          this.report.violations.push(`seed ${this.seed}: ${String(error)}`);
      });
    }
  }

  async #act(storage: StorageAdapter, act: Act): Promise<void> {
    const store = new TransactionStore(storage, this.#clock);
    if (act === 'recover') {
      for await (const found of store.open()) if ('error' in found) throw found.error;
      return;
    }
    if (act === 'live') {
      const answer = await store.begin(metaOf(ID), line('begun'), new TestHolder());
      if ('existing' in answer) return;
      await answer.begun.finish(line('end'), END);
      this.report.ends += 1;
      return;
    }
    const stored = await store.read(ID);
    if (act === 'abandon' && stored?.hasEnded === false) await store.amend(stored, line('abandoned'), END);
    if (act !== 'delete' || !stored?.hasEnded) return;
    await store.delete(stored);
    this.report.deletes += 1;
  }

  /** The store, each of whose calls waits for its turn. */
  #scheduled(): StorageAdapter {
    return around(this.#inner, async (call, key, send) => {
      await this.#turn();
      const isWrite = call === 'put' || call === 'delete';
      if (!this.late || !isWrite || !this.#dice.chance(0.15)) return send();
      void this.#turn()
        .then(send)
        .catch(() => undefined);
      throw new OutcomeUnknownError(key);
    });
  }

  #turn(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  async #requireMark(calls: number): Promise<void> {
    const journal = await this.#openJournal();
    const mark = journal && (await this.#inner.get(`${OPEN}p=${ID}/${journal}`));
    if (journal && !mark) this.report.violations.push(`seed ${this.seed}: open without a mark after call ${calls}`);
  }

  async #openJournal(): Promise<string | undefined> {
    const stored = await new TransactionStore(this.#inner, this.#clock).read(ID);
    return stored === undefined || stored.hasEnded ? undefined : stored.head.head.journal;
  }
}
