import { createHash } from 'node:crypto';
import type { HoldfastError } from '../../src/base/errors.js';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import type { CompensationContext, StepContext } from '../../src/transactions/transaction.js';
import { RolledBackError } from '../../src/transactions/transaction-errors.js';
import type { TransactionManager } from '../../src/transactions/transaction-manager.js';

/** What can be wrong with the toy. Each is a mistake that somebody has made. */
export type ToyFlaw =
  | 'begins late'
  | 'ends late'
  | 'answers before it is recorded'
  | 'forgets to record steps'
  | 'forgets to record compensations'
  | 'compensates forwards'
  | 'compensates at once'
  | 'compensates what failed'
  | 'compensates nothing'
  | 'compensates with a wrong result'
  | 'keys by chance'
  | 'one key for both ways'
  | 'never verifies'
  | 'keeps its fence'
  | 'never resumes'
  | 'hangs after a crash'
  | 'refuses to recover'
  | 'fails to recover'
  | 'starts after a failure'
  | 'forgets its outcome';

interface ToyStep {
  readonly name: string;
  readonly result?: string;
  readonly error?: string;
  isCompensated?: boolean;
}

interface ToyRecord {
  status: 'running' | 'compensating' | 'done' | 'rolled-back';
  fence: number;
  steps: ToyStep[];
  cause?: string;
  result?: unknown;
}

interface ToyOptions {
  readonly compensate?: (result: string, context: CompensationContext) => unknown;
  readonly verify?: (context: StepContext) => Promise<string | undefined>;
}

/** What a body of the toy is given. */
export interface ToyTx {
  step(name: string, run: (context: StepContext) => Promise<string>, options?: ToyOptions): Promise<string>;
}

type ToyBody = (tx: ToyTx, input: unknown) => Promise<unknown>;

/**
 * Transactions in small: one record, rewritten at each step, no owner. Right but for its flaws, and for what it cannot
 * do; its methods are those of a `TransactionManager` that the crash matrix calls.
 */
export function toyTransactions(storage: StorageAdapter, ...flaws: readonly ToyFlaw[]): TransactionManager {
  const bodies = new Map<string, (id: string) => Promise<unknown>>();
  const toy = {
    define: (_name: string, body: ToyBody) => {
      const start = async (id: string, input: unknown) => new ToyRun(id, storage, flaws).run(body, input);
      bodies.set('only', (id) => start(id, undefined));
      return start;
    },
    async get(id: string) {
      return (await readRecord(storage, id))?.record;
    },
    async recover() {
      const report = { resumed: [], rolledBack: [], stuck: [], busy: [], unknown: [], failed: [] };
      if (flaws.includes('refuses to recover')) throw new Error('the toy does not recover');
      if (flaws.includes('hangs after a crash')) await new Promise(() => {});
      if (flaws.includes('never resumes')) return report;
      for (const { key } of (await storage.list('toy/')).entries) {
        await bodies
          .get('only')?.(key.slice('toy/'.length))
          .catch(() => {}); // Its caller asks for the outcome.
        if (flaws.includes('fails to recover'))
          return { ...report, failed: [{ id: key, error: new Error('the toy failed') }] };
      }
      return report;
    },
  };
  return toy as unknown as TransactionManager;
}

async function readRecord(storage: StorageAdapter, id: string) {
  const stored = await storage.get(`toy/${id}`);
  return stored && { record: JSON.parse(Buffer.from(stored.value).toString()) as ToyRecord, version: stored.version };
}

class ToyRun {
  readonly #aborting = new AbortController();
  readonly #options = new Map<string, ToyOptions>();
  readonly #running = new Set<Promise<unknown>>();
  #record: ToyRecord = { status: 'running', fence: 0, steps: [] };
  #isResumed = false;
  #writing: Promise<unknown> = Promise.resolve();

  constructor(
    readonly id: string,
    readonly storage: StorageAdapter,
    readonly flaws: readonly ToyFlaw[],
  ) {}

  async run(body: ToyBody, input: unknown): Promise<unknown> {
    const found = await readRecord(this.storage, this.id);
    if (found) this.#record = found.record;
    this.#isResumed = found !== undefined;
    const { status } = this.#record;
    if (status === 'done')
      return this.#has('forgets its outcome') && this.#isResumed ? 'forgotten' : this.#record.result;
    if (status === 'rolled-back') throw this.#failure();
    if (!this.#isResumed || !this.#has('keeps its fence')) this.#record.fence++;
    if (!this.#has('begins late')) await this.#save();
    try {
      this.#record.result = await body({ step: (...step) => this.#step(...step) }, input);
    } catch (error) {
      return this.#rollBack(error);
    }
    this.#record.status = 'done';
    const saved = this.#save();
    if (!this.#has('ends late')) await saved;
    return this.#record.result;
  }

  #step(name: string, run: (context: StepContext) => Promise<string>, options: ToyOptions = {}): Promise<string> {
    this.#options.set(name, options);
    const recorded = this.#record.steps.find((step) => step.name === name);
    if (recorded?.error !== undefined) return Promise.reject(new Error(recorded.error));
    if (recorded?.result !== undefined) return Promise.resolve(recorded.result);
    const isOver = this.#aborting.signal.aborted && !this.#has('starts after a failure');
    if (isOver) return Promise.reject(new Error('aborted'));
    const running = this.#runStep(name, run, options);
    this.#running.add(running);
    running.catch(() => this.#aborting.abort()); // The toy has no body that catches.
    return running;
  }

  async #runStep(name: string, run: (context: StepContext) => Promise<string>, options: ToyOptions): Promise<string> {
    const context = this.#context(name);
    try {
      const isUnknown = this.#isResumed && !this.#has('never verifies');
      const found = isUnknown ? await options.verify?.(context) : undefined;
      const result = found ?? (await run(context));
      if (!this.#has('forgets to record steps')) await this.#add({ name, result });
      return result;
    } catch (error) {
      const failed = { name, error: (error as Error).message };
      await this.#add(this.#has('compensates what failed') ? { name, result: 'nothing' } : failed);
      throw error;
    }
  }

  #add(step: ToyStep): Promise<unknown> | undefined {
    this.#record.steps.push(step);
    const saved = this.#save();
    return this.#has('answers before it is recorded') ? undefined : saved;
  }

  async #rollBack(error: unknown): Promise<never> {
    if (!this.#has('compensates at once')) await Promise.allSettled(this.#running);
    const record = this.#record;
    record.cause ??= (error as Error).message;
    if (record.status === 'running') {
      record.status = 'compensating';
      await this.#save();
    }
    const steps = this.#has('compensates nothing') ? [] : [...record.steps];
    if (!this.#has('compensates forwards')) steps.reverse();
    for (const step of steps) await this.#compensate(step);
    record.status = 'rolled-back';
    await this.#save();
    throw this.#failure();
  }

  async #compensate(step: ToyStep): Promise<void> {
    const compensate = this.#options.get(step.name)?.compensate;
    if (step.result === undefined || step.isCompensated || compensate === undefined) return;
    const context = this.#context(step.name, this.#has('one key for both ways') ? '' : '/back');
    const result = this.#has('compensates with a wrong result') ? (this.#record.steps[0]?.result ?? '') : step.result;
    await compensate(result, { ...context, cause: this.#record.cause });
    step.isCompensated = true;
    if (!this.#has('forgets to record compensations')) await this.#save();
  }

  #failure(): HoldfastError {
    const { cause, steps } = this.#record;
    const compensated = steps.filter(({ isCompensated }) => isCompensated).map(({ name }) => name);
    return new RolledBackError(this.id, { cause: new Error(cause), compensated, leftBehind: [] });
  }

  #context(step: string, way = ''): StepContext {
    const chance = this.#has('keys by chance') ? `/${this.#record.fence}` : '';
    const key = createHash('sha256').update(`${step}${way}${chance}`).digest('base64url');
    const { signal } = this.#aborting;
    return { transaction: this.id, step, key, fence: this.#record.fence, attempt: 1, operationId: key, signal };
  }

  /** Each write is of the record as it is then; one after the other. */
  #save(): Promise<unknown> {
    const value = Buffer.from(JSON.stringify(this.#record));
    this.#writing = this.#writing.then(() => this.storage.put(`toy/${this.id}`, value));
    return this.#writing;
  }

  #has(flaw: ToyFlaw): boolean {
    return this.flaws.includes(flaw);
  }
}
