import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import { SessionRegistry } from '../../src/sessions/session-registry.js';
import { type StorageAdapter, StorageError } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { type SeededRandom, seededRandom } from '../../src/testing/seeded-random.js';
import { DriftingClock } from '../records/node-schedule.js';
import type { Fact, Trouble } from './fleet/fleet-fact.js';
import { FleetHost } from './fleet/fleet-host.js';
import { type Ending, endingsIn } from './fleet/fleet-ledger.js';
import { type FleetGround, FleetTrial, type HostHandle } from './fleet/fleet-trial.js';
import type { FaultRow } from './row.js';
import { SEED } from './scene.js';

const LEASE_MS = 15_000;
const TICK_MS = 250;
const ENOUGH = 0.999;
const MOST_MS = 30_000;

/** A host of its own, where no other can see whether its process lives: its clock, and its line to the store. */
class DistantHost implements HostHandle {
  readonly #clock: DriftingClock;
  readonly #host: FleetHost;
  readonly #random: SeededRandom;

  constructor(
    readonly name: string,
    ground: DistantGround,
  ) {
    this.#random = seededRandom(`${SEED} ${name}`);
    this.#clock = new DriftingClock(0.951 + this.#random() * 0.098);
    this.#host = new FleetHost({
      storage: this.#wire(ground.storage),
      clock: this.#clock,
      random: this.#random,
      leaseMs: LEASE_MS,
      stepMs: 1_000,
      pollMs: 1_000,
      say: (fact) => void ground.facts.push({ ...fact, host: name, atMs: ground.nowMs() }),
      die: async () => {
        await this.kill();
        return new Promise(() => {});
      },
      isFirst: (what) => ground.isFirst(what),
    });
    void this.#host.watch();
  }

  begin(id: string, trouble: Trouble): void {
    void this.#host.begin(id, trouble);
  }

  async kill(): Promise<void> {
    this.#clock.fate = 'stopped'; // Nobody wakes it any more.
  }

  async freeze(): Promise<void> {
    this.#clock.fate = this.#random.pick(['stopped', 'suspended', 'cut off']);
  }

  thaw(): void {
    this.#clock.fate = 'well';
  }

  async pass(): Promise<void> {
    this.#clock.pass(TICK_MS);
    await this.#clock.letRun(this.#random.chance(0.5));
  }

  /** A host that does not run hears of answers when it does; one that is cut off cannot write. */
  #wire(storage: StorageAdapter): StorageAdapter {
    const clock = this.#clock;
    const heard = <Answer>(answer: Promise<Answer>): Promise<Answer> =>
      answer.finally(() => (clock.isRunning ? undefined : clock.whenRunning()));
    const sent = <Answer>(send: () => Promise<Answer>): Promise<Answer> =>
      clock.fate === 'cut off' ? Promise.reject(new StorageError('cut off')) : heard(send());
    const { batch } = storage;
    return {
      name: 'wire',
      capabilities: storage.capabilities,
      get: (key) => heard(storage.get(key)),
      list: (prefix, options) => heard(storage.list(prefix, options)),
      put: (key, value, options) => sent(() => storage.put(key, value, options)),
      delete: (key, options) => sent(() => storage.delete(key, options)),
      ...(batch && { batch: (operations) => sent(() => batch(operations)) }),
    };
  }
}

/** Simulated hosts, apart from each other, over one store. Time passes as fast as it can be computed. */
class DistantGround implements FleetGround {
  readonly facts: Fact[] = [];
  readonly patienceMs = 600_000;
  readonly storage = memoryStorage();
  readonly #sessions: SessionRegistry<CheckpointManager<unknown>>;
  readonly #hosts: DistantHost[] = [];
  readonly #firsts = new Set<string>();
  #nowMs = 0;

  constructor() {
    const { storage } = this;
    const retention = { removeAfterMs: 0 };
    this.#sessions = new SessionRegistry({ storage, checkpoints: new CheckpointManager({ storage }), retention });
  }

  nowMs(): number {
    return this.#nowMs;
  }

  async start(name: string): Promise<HostHandle> {
    const host = new DistantHost(name, this);
    this.#hosts.push(host);
    return host;
  }

  async pass(): Promise<void> {
    this.#nowMs += TICK_MS;
    for (const host of this.#hosts) await host.pass();
  }

  endings(ids: readonly string[]): Promise<ReadonlyMap<string, Ending>> {
    return endingsIn(this.#sessions, ids);
  }

  async forget(): Promise<void> {
    await this.#sessions.expire();
  }

  isFirst(what: string): boolean {
    if (this.#firsts.has(what)) return false;
    this.#firsts.add(what);
    return true;
  }
}

export const failingFleetApart: FaultRow = {
  fault: 'sessions of three hosts apart: dying, stopped, cut off, damaged, refused, again and again',
  async run(lane) {
    const trial = new FleetTrial(new DistantGround(), seededRandom(SEED));
    const { summary, bad } = await trial.run(lane === 'quick' ? 1_000 : 10_000);
    return {
      tried: summary.failures.length,
      bad: [...bad, ...summary.shortcomings(ENOUGH, MOST_MS)],
      note: summary.note,
    };
  },
};
