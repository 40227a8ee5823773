import type { Clock } from '../../src/base/clock.js';
import { LeaseNode, type Tenure } from '../../src/records/node.js';
import { type StorageAdapter, StorageError } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { chaosStorage } from '../../src/testing/chaos-storage.js';
import { type SeededRandom, seededRandom } from '../../src/testing/seeded-random.js';
import { SimulatedClock } from '../simulation/simulated-clock.js';

const LEASE_MS = 1_000;
const HOUR_MS = 3_600_000;
const TEN_YEARS_MS = 10 * 365 * 24 * HOUR_MS;

/**
 * How a process fares. Cut off, it runs and its writes fail. SIGSTOP stops the process but no clock; a machine that is
 * suspended stops the monotonic one, too.
 */
type Fate = 'well' | 'cut off' | 'stopped' | 'suspended';

/** The clocks of one process: they drift, they stop, and nothing in the process runs while it does not. */
export class DriftingClock implements Clock {
  #monotonicMs = 0;
  #wallMs = 1_700_000_000_000;
  readonly #sleepers = new Set<{ readonly dueMs: number; readonly wake: () => void }>();
  readonly #held: (() => void)[] = [];
  fate: Fate = 'well';

  get isRunning(): boolean {
    return this.fate === 'well' || this.fate === 'cut off';
  }

  constructor(readonly rate: number) {}

  now = () => this.#wallMs;
  monotonicMs = () => this.#monotonicMs;

  sleep(ms: number, options?: { readonly signal?: AbortSignal }): Promise<void> {
    return new Promise((resolve, reject) => {
      const signal = options?.signal;
      if (signal?.aborted) return reject(signal.reason);
      const onAbort = () => {
        this.#sleepers.delete(sleeper);
        reject(signal?.reason);
      };
      const wake = () => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      };
      const sleeper = { dueMs: this.#monotonicMs + ms, wake };
      this.#sleepers.add(sleeper);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** `ms` of real time go by. */
  pass(ms: number): void {
    if (this.fate !== 'suspended') this.#monotonicMs += ms * this.rate;
    this.#wallMs += ms * this.rate;
  }

  jumpWall(ms: number): void {
    this.#wallMs += ms;
  }

  /** Resolves while the process runs: what comes in meanwhile waits. */
  whenRunning(): Promise<void> {
    return new Promise((resolve) => void this.#held.push(resolve));
  }

  /** Timers that are due and answers that came: in an order that nobody can rely on. */
  async letRun(isTimersFirst: boolean): Promise<void> {
    if (!this.isRunning) return;
    for (const wakesTimers of [isTimersFirst, !isTimersFirst]) {
      for (const wake of wakesTimers ? this.#takeDue() : this.#held.splice(0)) wake();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #takeDue(): (() => void)[] {
    const due = [...this.#sleepers].filter(({ dueMs }) => dueMs <= this.#monotonicMs);
    for (const sleeper of due) this.#sleepers.delete(sleeper);
    return due.map(({ wake }) => wake);
  }
}

interface Process {
  readonly clock: DriftingClock;
  readonly node: LeaseNode;
  readonly tenures: Set<Tenure>;
  /** Questions that have no answer yet. */
  readonly asking: Set<string>;
  isBeginning: boolean;
}

/** What came of a schedule. */
export interface ScheduleReport {
  /** Tenures that were begun, and those that another process took for gone. */
  readonly tenures: number;
  readonly gone: number;
  /** Of those: the ones that held themselves valid afterwards. There must be none. */
  readonly violations: readonly string[];
}

/**
 * Three processes that share a storage for about 12 leases of real time. Their clocks drift by less than 5 %, they are
 * cut off, stopped or suspended, wall time jumps, requests and answers are late, lost or refused. All ask all the time who is gone.
 * Whether machines are suspended or wall time jumps back is decided once: both together are not promised.
 */
export async function runSchedule(seed: number): Promise<ScheduleReport> {
  const dice = seededRandom(seed);
  const real = new SimulatedClock();
  const shared = memoryStorage();
  const isSuspending = dice.chance(0.5);
  const processes = [0, 1, 2].map((at) => startProcess(dice, wire(shared, `${seed} ${at}`, real)));
  const gone = new Set<string>();
  const violations: string[] = [];
  for (let step = 0; step < 120; step++) {
    const stepMs = 1 + dice.integer(200);
    for (const { clock } of processes) {
      turnFate(clock, dice, isSuspending);
      clock.pass(stepMs);
    }
    await real.runUntil(real.now() + stepMs); // Everything in this step happens at its end.
    for (const { clock } of processes) await clock.letRun(dice.chance(0.5));
    for (const process of processes) act(process, processes, gone);
    await real.runUntil(real.now());
    for (const { clock, tenures } of processes) {
      const wrong = [...tenures].filter((tenure) => clock.isRunning && gone.has(tenure.id) && tenure.isValid());
      violations.push(...wrong.map(({ id }) => `seed ${seed}, step ${step}: ${id}`));
    }
  }
  return { tenures: processes.reduce((sum, { tenures }) => sum + tenures.size, 0), gone: gone.size, violations };
}

function startProcess(dice: SeededRandom, storage: StorageAdapter): Process {
  const clock = new DriftingClock(0.951 + dice() * 0.098);
  const whenHeard = <Answer>(answer: Promise<Answer>): Promise<Answer> =>
    answer.finally(() => (clock.isRunning ? undefined : clock.whenRunning()));
  const heard: StorageAdapter = {
    ...storage,
    get: (key) => whenHeard(storage.get(key)),
    put(key, value, options) {
      if (clock.fate === 'cut off') return Promise.reject(new StorageError('cut off'));
      return whenHeard(storage.put(key, value, options));
    },
  };
  const node = new LeaseNode({ storage: heard, leaseMs: LEASE_MS, clock });
  return { clock, node, tenures: new Set(), asking: new Set(), isBeginning: false };
}

function wire(shared: StorageAdapter, seed: string, clock: Clock): StorageAdapter {
  const faults = { failBefore: 0.05, failUnknown: 0.05, failAfter: 0.05, noSpace: 0.02, delay: 0.5 };
  return chaosStorage(shared, seed, { ...faults, clock, maxDelayMs: 400 });
}

function turnFate(clock: DriftingClock, dice: SeededRandom, isSuspending: boolean): void {
  const [turn, jump] = [dice(), dice()];
  const trouble = dice.pick(['cut off', 'stopped', isSuspending ? 'suspended' : 'stopped'] as const);
  if (clock.fate === 'well' && turn < 0.04) clock.fate = trouble;
  else if (clock.fate !== 'well' && turn < 0.1) clock.fate = 'well';
  if (jump < 0.001) clock.jumpWall(TEN_YEARS_MS);
  else if (jump < 0.02 && !isSuspending) clock.jumpWall(-HOUR_MS);
}

/** What the code of a process does whenever it runs. */
function act(process: Process, all: readonly Process[], gone: Set<string>): void {
  if (!process.clock.isRunning) return;
  void keepTenure(process);
  const others = all.filter((other) => other !== process).flatMap(({ tenures }) => [...tenures].slice(-3));
  for (const { id } of others) void ask(process, id, gone);
}

async function keepTenure(process: Process): Promise<void> {
  if (process.isBeginning) return;
  process.isBeginning = true;
  const tenure = await process.node.tenure().catch(() => undefined); // Bad weather: the next step tries again.
  if (tenure !== undefined) process.tenures.add(tenure);
  process.isBeginning = false;
}

async function ask({ node, asking }: Process, id: string, gone: Set<string>): Promise<void> {
  if (asking.has(id) || gone.has(id)) return;
  asking.add(id);
  if (await node.isGone(id).catch(() => false)) gone.add(id);
  asking.delete(id);
}
