import { inWords } from '../../policies/in-words.js';
import type { StorageAdapter } from '../../storage/adapter.js';
import type { TransactionRunOptions, TransactionView } from '../../transactions/transaction.js';
import type { TransactionManager } from '../../transactions/transaction-manager.js';
import type { StorageUnderTest } from '../storage-contract.js';
import type { CrashableTransaction, CrashEnding, CrashOptions, CrashScenario } from './crash-scenario.js';
import { WorldLedger } from './crash-world.js';
import { wrongCalls } from './judge-calls.js';
import { type Answer, begunAfterFailure, otherAnswer, wrongAnswer, wrongEffects } from './judge-ending.js';
import { MortalProcess } from './mortal-process.js';
import { mortalStorage } from './mortal-storage.js';

/** The scenario with everything that is needed to play it. */
export interface CrashPlay<Input> {
  readonly scenario: CrashScenario<Input>;
  readonly options: CrashOptions<Input> & Required<Pick<CrashOptions<Input>, 'storage' | 'manager' | 'patienceMs'>>;
  /** Of the run in which nobody dies; left out in that run itself. */
  readonly undisturbed?: CrashEnding;
}

/** What came of one run. */
export interface PlayedRun {
  /** Where each process died that did, in words. */
  readonly deaths: readonly string[];
  /** Moments at which the process that lived to the end could have died. */
  readonly moments: number;
  /** Left out if it has none: it hangs. */
  readonly ending: CrashEnding | undefined;
  readonly wrong: readonly string[];
}

/** The transaction of every run. */
const ID = 'crash-matrix';

/** Long enough for any lease to be over. Time costs nothing here. */
const WAIT: TransactionRunOptions = { waitMs: 24 * 3_600_000 };

/**
 * Plays one run: processes die, each at its moment of `diedAt`, each after the first recovers, and the one behind them
 * lives to the end. Then another asks for the outcome once more.
 */
export async function playRun<Input>(play: CrashPlay<Input>, diedAt: readonly number[]): Promise<PlayedRun> {
  const made = await play.options.storage();
  const isReopenable = !('get' in made);
  const run = new CrashRun(play, isReopenable ? made : { open: () => made });
  try {
    return await run.play(diedAt);
  } finally {
    await run.close();
    if (isReopenable) await made.destroy?.();
  }
}

/** A process that runs, with what it defined. */
interface Running<Input> {
  readonly process: MortalProcess;
  readonly transactions: TransactionManager;
  readonly call: CrashableTransaction<Input>;
}

class CrashRun<Input> {
  readonly #play: CrashPlay<Input>;
  readonly #store: StorageUnderTest;
  readonly #opened = new Set<StorageAdapter>();
  readonly #ledger = new WorldLedger();
  readonly #wrong = new Set<string>();
  /** What the callers of all processes heard. */
  readonly #answers: Answer[] = [];
  #processes = 0;
  #nowMs = Date.UTC(2026, 0, 1);

  constructor(play: CrashPlay<Input>, store: StorageUnderTest) {
    this.#play = play;
    this.#store = store;
  }

  async play(diedAt: readonly number[]): Promise<PlayedRun> {
    const deaths: string[] = [];
    for (;;) {
      const running = await this.#start(diedAt[deaths.length]);
      const { process } = running;
      if (deaths.length > 0) await this.#recover(running);
      const view = await this.#call(running);
      const hasDied = process.isDead;
      this.#end(process);
      if (hasDied) deaths.push(process.lastMoment);
      else return { deaths, moments: process.moments, ending: await this.#judge(view), wrong: [...this.#wrong] };
    }
  }

  async close(): Promise<void> {
    for (const store of this.#opened) await store.close?.();
  }

  async #start(diesAt: number | undefined): Promise<Running<Input>> {
    const { scenario, options } = this.#play;
    const { patienceMs, manager } = options;
    const process = new MortalProcess({ number: ++this.#processes, startMs: this.#nowMs, diesAt, patienceMs });
    const store = await this.#store.open();
    this.#opened.add(store);
    const { clock } = process;
    const storage = mortalStorage(store, process);
    const transactions = manager({ storage, clock });
    const call = scenario({ transactions, world: this.#ledger.seenBy(process), storage, clock });
    return { process, transactions, call };
  }

  #end(process: MortalProcess): void {
    this.#nowMs = process.clock.now();
    process.die();
  }

  async #recover({ process, transactions }: Running<Input>): Promise<void> {
    const report = await this.#hear(process, 'recover', () => transactions.recover(WAIT));
    const view = await this.#hear(process, 'get', () => transactions.get(ID));
    if (report === undefined) return;
    for (const { error } of report.failed) this.#wrong.add(`it could not be recovered: ${inWords(error)}`);
    const isOpen = view?.status === 'running' || view?.status === 'compensating';
    if (isOpen && !report.unknown.includes(ID)) this.#wrong.add(`recover left it ${view.status}`);
  }

  /** The call that a user makes, also after a crash: it gives the outcome, whoever brought it about. */
  async #call({ process, transactions, call }: Running<Input>): Promise<TransactionView | undefined> {
    const answer = await process.lives(() => call(ID, this.#play.options.input as Input, WAIT));
    if (answer !== undefined) this.#answers.push(answer);
    else if (!process.isDead) this.#wrong.add('its call hangs');
    return answer && this.#hear(process, 'get', () => transactions.get(ID));
  }

  /** What a call that has to succeed gives, if the process lives to hear it. */
  async #hear<Result>(process: MortalProcess, name: string, call: () => Promise<Result>): Promise<Result | undefined> {
    const answer = await process.lives(call);
    if (answer?.status === 'fulfilled') return answer.value;
    if (answer !== undefined) this.#wrong.add(`${name} failed: ${inWords(answer.reason)}`);
    else if (!process.isDead) this.#wrong.add(`${name} hangs`);
    return undefined;
  }

  async #judge(view: TransactionView | undefined): Promise<CrashEnding | undefined> {
    const answer = this.#answers.at(-1);
    const { calls } = this.#ledger;
    const seen = calls.length;
    const ending = answer && view && endingOf(view, answer, this.#ledger);
    if (answer !== undefined) {
      this.#add(wrongAnswer(answer, view?.status));
      const running = await this.#start(undefined);
      await this.#call(running);
      this.#end(running.process);
      for (const [at, next] of this.#answers.slice(1).entries()) {
        this.#add(otherAnswer(this.#answers[at] as Answer, next));
      }
      if (calls.length > seen) this.#wrong.add('called again after its end, it ran something again');
    }
    this.#add(wrongCalls(this.#ledger));
    if (ending !== undefined) this.#judgeEnding(ending);
    return ending;
  }

  #judgeEnding(ending: CrashEnding): void {
    const { options, undisturbed = ending } = this.#play;
    const allowed = options.allow ?? [undisturbed.status];
    if (!allowed.includes(ending.status)) {
      const why = ending.error === undefined ? '' : `: ${inWords(ending.error)}`;
      this.#wrong.add(`it ended ${ending.status}, which is not allowed${why}`);
    }
    this.#add(wrongEffects(ending, undisturbed));
    this.#add(begunAfterFailure(this.#ledger.calls, ending));
    try {
      options.check?.(ending);
    } catch (error) {
      this.#wrong.add(inWords(error));
    }
  }

  #add(wrong: readonly string[]): void {
    for (const what of wrong) this.#wrong.add(what);
  }
}

function endingOf({ status }: TransactionView, answer: Answer, { events }: WorldLedger): CrashEnding {
  const came = answer.status === 'fulfilled' ? { result: answer.value } : { error: answer.reason };
  return { status, ...came, events };
}
