import type { Clock } from '../../src/base/clock.js';
import { isHoldfastError } from '../../src/base/errors.js';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import type { Session } from '../../src/sessions/session.js';
import { SessionRegistry } from '../../src/sessions/session-registry.js';
import { OutcomeUnknownError, type StorageAdapter, StorageError } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { type ChaosStorage, chaosStorage } from '../../src/testing/chaos-storage.js';
import { type SeededRandom, seededRandom } from '../../src/testing/seeded-random.js';
import { DriftingClock } from '../records/node-schedule.js';
import { SimulatedClock } from '../simulation/simulated-clock.js';
import { withoutBatch } from './session-world.js';

const LEASE_MS = 1_000;
const IDS = ['one', 'two'];
const STEPS = 90;
/** Of the writes of states. */
const STUCK = 0.15;

/** Where states are kept: with the records and their check, with them but without batches, or in another store. */
export type Ground = 'together' | 'four methods' | 'apart';

interface State {
  /** One for each save. */
  readonly token: string;
  readonly fence: number;
}

type Keeper = CheckpointManager<State>;

/** A save that was acknowledged. */
interface Acknowledged extends State {
  readonly id: string;
  readonly sequence: number;
}

/** What somebody who became the holder found. */
interface Begun {
  readonly id: string;
  readonly fence: number;
  readonly sequence: number;
  readonly isTakenOver: boolean;
}

/** What came of a schedule. */
export interface ScheduleReport {
  readonly saves: number;
  readonly takeovers: number;
  /** There must be none. */
  readonly violations: readonly string[];
}

/** Plays so many schedules, with the seeds from 1 on. */
export async function playSchedules(ground: Ground, schedules: number): Promise<ScheduleReport> {
  let [saves, takeovers] = [0, 0];
  const violations: string[] = [];
  for (let seed = 1; seed <= schedules; seed++) {
    const report = await new SessionSchedule(seed, ground).run();
    violations.push(...report.violations);
    saves += report.saves;
    takeovers += report.takeovers;
  }
  return { saves, takeovers, violations };
}

/** A process, until it dies: from then on its clock stands still, and with it all that it does. */
class SimulatedProcess {
  readonly clock: DriftingClock;
  readonly sessions: SessionRegistry<Keeper>;
  readonly handles = new Map<string, Session<Keeper>>();
  readonly busy = new Set<string>();
  /** Those that it ended or gave back, or tried to: it does not act for them any more. */
  readonly #given = new WeakSet<Session<Keeper>>();

  constructor(rate: number, wired: (clock: DriftingClock) => { storage: StorageAdapter; states: StorageAdapter }) {
    this.clock = new DriftingClock(rate);
    const { clock } = this;
    const { storage, states } = wired(clock);
    const checkpoints = new CheckpointManager<State>({ storage: states, clock });
    const takeovers = { max: 1_000_000 };
    this.sessions = new SessionRegistry({ storage, checkpoints, clock, leaseMs: LEASE_MS, takeovers });
  }

  /** Those that it believes are its own. */
  get held(): Session<Keeper>[] {
    const handles = this.clock.isRunning ? [...this.handles.values()] : [];
    return handles.filter((session) => !session.isOver && !this.#given.has(session));
  }

  isGiven(session: Session<Keeper>): boolean {
    return this.#given.has(session);
  }

  async give(session: Session<Keeper>, act: () => Promise<void>): Promise<void> {
    this.#given.add(session);
    await act();
  }
}

/** Some processes that share sessions for about ten leases of real time, and what is seen of them. */
class SessionSchedule {
  readonly #dice: SeededRandom;
  readonly #real = new SimulatedClock();
  readonly #records: StorageAdapter;
  readonly #states: StorageAdapter;
  readonly #wires: ChaosStorage[] = [];
  readonly #isSuspending: boolean;
  readonly #saved: Acknowledged[] = [];
  readonly #begun: Begun[] = [];
  readonly #violations: string[] = [];
  #processes: SimulatedProcess[];
  #tokens = 0;
  #isCalm = false;

  constructor(
    readonly seed: number,
    readonly ground: Ground,
  ) {
    this.#dice = seededRandom(seed);
    const shared = memoryStorage();
    this.#records = ground === 'four methods' ? withoutBatch(shared) : shared;
    this.#states = ground === 'apart' ? memoryStorage() : this.#records;
    this.#isSuspending = this.#dice.chance(0.5);
    this.#processes = [0, 1, 2].map(() => this.#start());
  }

  async run(): Promise<ScheduleReport> {
    for (let step = 0; step < STEPS; step++) {
      this.#processes = this.#processes.map((process) => this.#fare(process));
      await this.#pass(1 + this.#dice.integer(100));
      for (const process of this.#processes) this.#act(process);
      await this.#real.runUntil(this.#real.now());
      this.#requireOneHolder(`step ${step}`);
    }
    await this.#requireAllTakenOver();
    await this.#requireWholeChains();
    this.#requireNothingLost();
    const takeovers = this.#begun.filter(({ isTakenOver }) => isTakenOver).length;
    return { saves: this.#saved.length, takeovers, violations: this.#violations };
  }

  #start(): SimulatedProcess {
    const wire = (clock: DriftingClock) => {
      const storage = this.#wire(this.#records, clock);
      return { storage, states: this.#states === this.#records ? storage : this.#wire(this.#states, clock) };
    };
    return new SimulatedProcess(0.951 + this.#dice() * 0.098, wire);
  }

  /** Calls are late, lost, refused; a process that does not run hears of their answers when it does. */
  #wire(shared: StorageAdapter, clock: DriftingClock): StorageAdapter {
    const faults = { failBefore: 0.01, failUnknown: 0.01, failAfter: 0.02, noSpace: 0.01, delay: 0.3 };
    const weather: { clock: Clock; maxDelayMs: number } = { clock: this.#real, maxDelayMs: 60 };
    const chaos = chaosStorage(shared, `${this.seed} ${this.#wires.length}`, { ...faults, ...weather });
    this.#wires.push(chaos);
    const heard = <Answer>(answer: Promise<Answer>): Promise<Answer> =>
      answer.finally(() => (clock.isRunning ? undefined : clock.whenRunning()));
    const dice = seededRandom(`${this.seed} stuck ${this.#wires.length}`);
    const sent = <Answer>(key: string, send: () => Promise<Answer>): Promise<Answer> => {
      if (clock.fate === 'cut off') return Promise.reject(new StorageError('cut off'));
      const isStuck = key.startsWith('checkpoints/') && dice.chance(STUCK);
      return heard(isStuck && !this.#isCalm ? this.#sendLate(key, dice, send) : send());
    };
    const { batch } = chaos;
    return {
      name: 'wire',
      capabilities: chaos.capabilities,
      get: (key) => heard(chaos.get(key)),
      list: (prefix, options) => heard(chaos.list(prefix, options)),
      put: (key, value, options) => sent(key, () => chaos.put(key, value, options)),
      delete: (key, options) => sent(key, () => chaos.delete(key, options)),
      ...(batch && { batch: (operations) => sent(operations.at(-1)?.key ?? '', () => batch(operations)) }),
    };
  }

  /** It reaches the store when somebody else may have taken over; its sender waits for that, or hears long before that nobody knows. */
  #sendLate<Answer>(key: string, dice: SeededRandom, send: () => Promise<Answer>): Promise<Answer> {
    const arriving = this.#real.sleep(LEASE_MS * (0.5 + 2 * dice())).then(send);
    if (dice.chance(0.5)) return arriving;
    arriving.catch(() => undefined);
    return this.#real.sleep(50).then(() => Promise.reject(new OutcomeUnknownError(key)));
  }

  #fare(process: SimulatedProcess): SimulatedProcess {
    const { clock } = process;
    const [turn, jump] = [this.#dice(), this.#dice()];
    if (turn < 0.01) {
      clock.fate = 'stopped'; // Dead: nobody wakes it any more.
      return this.#start();
    }
    const trouble = this.#dice.pick(['cut off', 'stopped', this.#isSuspending ? 'suspended' : 'stopped'] as const);
    if (clock.fate === 'well' && turn < 0.05) clock.fate = trouble;
    else if (clock.fate !== 'well' && turn < 0.06) clock.fate = 'well';
    if (jump < 0.001) clock.jumpWall(10 * 365 * 86_400_000);
    else if (jump < 0.02 && !this.#isSuspending) clock.jumpWall(-3_600_000);
    return process;
  }

  async #pass(ms: number): Promise<void> {
    for (const { clock } of this.#processes) clock.pass(ms);
    await this.#real.runUntil(this.#real.now() + ms);
    for (const { clock } of this.#processes) await clock.letRun(this.#dice.chance(0.5));
  }

  /** What the code of a process does whenever it runs. */
  #act(process: SimulatedProcess): void {
    if (!process.clock.isRunning) return;
    for (const id of IDS) if (!process.busy.has(id)) void this.#turn(process, id, this.#dice());
  }

  async #turn(process: SimulatedProcess, id: string, luck: number): Promise<void> {
    process.busy.add(id);
    try {
      const session = process.handles.get(id);
      if (session === undefined || session.isOver) await this.#claim(process, id, luck);
      else if (luck < 0.02 || process.isGiven(session)) await process.give(session, () => session.release());
      else if (luck < 0.04) await process.give(session, () => session.end('completed'));
      else if (luck < 0.7) await this.#save(process, session);
      else session.touch(luck);
    } catch (error) {
      if (!isHoldfastError(error)) this.#wrong(`${id}: ${String(error)}`);
    } finally {
      process.busy.delete(id);
    }
  }

  async #claim(process: SimulatedProcess, id: string, luck: number): Promise<void> {
    process.handles.delete(id);
    if (luck > 0.9) return;
    const { sessions } = process;
    const session = await (luck < 0.45 ? sessions.open(id, { reopen: true }) : sessions.recover(id));
    const sequence = await restoredBy(session);
    this.#begun.push({ id, fence: session.fence, sequence, isTakenOver: session.takeover !== undefined });
    process.handles.set(id, session);
  }

  /** After a save that failed it goes on from what there is. */
  async #save(process: SimulatedProcess, session: Session<Keeper>): Promise<void> {
    const { id, fence } = session;
    const token = `${fence} ${++this.#tokens}`;
    try {
      const { sequence } = await session.checkpoint({ token, fence });
      this.#saved.push({ id, sequence, token, fence });
    } catch (error) {
      await session.restore();
      if (process.handles.get(id) === session) throw error;
    }
  }

  #requireOneHolder(when: string): void {
    for (const id of IDS) {
      const holders = this.#processes.flatMap(({ held }) => held.filter((session) => session.id === id));
      if (holders.length > 1)
        this.#wrong(`${when}: "${id}" is held with ${holders.map(({ fence }) => `fence ${fence}`)}`);
    }
  }

  /** The weather is fair, nobody begins anything but one new process that rescues: nothing may stay behind. */
  async #requireAllTakenOver(): Promise<void> {
    this.#isCalm = true;
    for (const wire of this.#wires) wire.calm();
    for (const process of this.#processes) {
      process.clock.fate = 'well';
      for (const session of process.handles.values())
        if (process.isGiven(session)) void session.release().catch(() => {});
    }
    for (let wait = 0; wait < 40; wait++) await this.#pass(LEASE_MS / 10);
    const rescuer = this.#start();
    this.#wires.at(-1)?.calm();
    this.#wires.at(-2)?.calm();
    this.#processes.push(rescuer);
    for (let look = 0; look < 30; look++) {
      void this.#rescue(rescuer);
      await this.#pass(LEASE_MS / 10);
      this.#requireOneHolder(`rescue ${look}`);
    }
    const held = this.#processes.flatMap((process) => process.held.map(({ id }) => id));
    for (const id of IDS) {
      const status = (await rescuer.sessions.get(id))?.status;
      const isEnded = status === undefined || status === 'completed' || status === 'failed';
      if (!isEnded && !held.includes(id)) this.#wrong(`"${id}" is ${status}, and nobody goes on with it`);
    }
  }

  async #rescue(rescuer: SimulatedProcess): Promise<void> {
    if (rescuer.busy.has('all')) return;
    rescuer.busy.add('all');
    for (const { id } of await rescuer.sessions.interrupted()) {
      await this.#claim(rescuer, id, 0.3).catch((error: unknown) => {
        if (!isHoldfastError(error)) this.#wrong(`rescuing "${id}": ${String(error)}`);
      });
    }
    rescuer.busy.delete('all');
  }

  /** Every acknowledged save is there, and each checkpoint grows out of the one before. */
  async #requireWholeChains(): Promise<void> {
    const checkpoints = new CheckpointManager<State>({ storage: this.#states });
    for (const id of IDS) {
      const tokens = new Map<number, State>();
      for await (const { sequence, parent, operation } of checkpoints.list(id)) {
        if ((parent ?? 0) !== sequence - 1) this.#wrong(`"${id}" ${sequence} grows out of ${parent}`);
        const state = (await checkpoints.restore(id, { sequence }))?.state as State;
        tokens.set(sequence, state);
        if (operation !== 'session.seal') this.#requireInTime(id, sequence, state.fence); // A seal is a copy.
      }
      for (let sequence = 1; sequence <= tokens.size; sequence++) {
        if (!tokens.has(sequence)) this.#wrong(`"${id}" ${sequence} is missing`);
      }
      for (const saved of this.#saved.filter((one) => one.id === id)) {
        if (tokens.get(saved.sequence)?.token !== saved.token)
          this.#wrong(`"${id}" ${saved.sequence} was acknowledged, and is another`);
      }
    }
  }

  /**
   * Nothing was written after somebody with a higher fence had begun: always, where write and check are one; elsewhere from
   * the seal of a takeover on, if there was anything to seal.
   */
  #requireInTime(id: string, sequence: number, fence: number): void {
    const later = this.#begun.find(
      (begun) =>
        begun.id === id &&
        begun.fence > fence &&
        begun.sequence < sequence &&
        (this.ground === 'together' || (begun.isTakenOver && begun.sequence > 0)),
    );
    if (later) this.#wrong(`"${id}" ${sequence} of fence ${fence} was written after fence ${later.fence} had begun`);
  }

  /** Whoever becomes the holder goes on from all that was, or ever will be, acknowledged to the holders before. */
  #requireNothingLost(): void {
    for (const { id, fence, sequence } of this.#begun) {
      const lost = this.#saved.find((save) => save.id === id && save.fence < fence && save.sequence > sequence);
      if (lost)
        this.#wrong(
          `"${id}": fence ${fence} began from ${sequence}, and ${lost.sequence} was acknowledged to fence ${lost.fence}`,
        );
    }
  }

  #wrong(what: string): void {
    this.#violations.push(`seed ${this.seed}, ${this.ground}: ${what}`);
  }
}

/** The sequence from which it goes on, 0 for none. A storage that fails is asked again. */
async function restoredBy(session: Session<Keeper>): Promise<number> {
  for (;;) {
    try {
      return (await session.restore())?.checkpoint.sequence ?? 0;
    } catch (error) {
      if (!(error instanceof StorageError) || session.isOver) throw error;
    }
  }
}
