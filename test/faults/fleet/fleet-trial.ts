import type { SeededRandom } from '../../../src/testing/seeded-random.js';
import { type Fact, STEPS, type Trouble } from './fleet-fact.js';
import { type Ending, type FleetFailure, FleetSummary, SessionLedger } from './fleet-ledger.js';

/** A host, as the trial sees it: from outside. */
export interface HostHandle {
  readonly name: string;
  begin(id: string, trouble: Trouble): void;
  kill(): Promise<void>;
  /** Nothing in it runs, or nothing it does comes through, until `thaw`. */
  freeze(): Promise<void>;
  thaw(): void;
}

/** Where hosts stand: real processes, or simulated ones. */
export interface FleetGround {
  /** Everything that was said, by all hosts. */
  readonly facts: Fact[];
  nowMs(): number;
  start(name: string): Promise<HostHandle>;
  /** Lets a little time go by. */
  pass(): Promise<void>;
  /** What the records of these sessions say in the end. */
  endings(ids: readonly string[]): Promise<ReadonlyMap<string, Ending>>;
  /** Removes the records of sessions that have ended: a look at all of them is not to become longer with every round. */
  forget(): Promise<void>;
  /** A round is given up after so long, and its sessions need a person. */
  readonly patienceMs: number;
}

/** What came of all rounds. */
export interface TrialResult {
  readonly summary: FleetSummary;
  /** What was acknowledged and intact and not gone on from; who was not told. There must be nothing. */
  readonly bad: readonly string[];
}

const HOSTS = 3;
const SESSIONS_A_ROUND = 10;

/** Of 20 rounds so many are of each kind. Stated before anything was measured, and the same on every ground. */
const MIX: readonly (readonly [Trouble, number])[] = [
  ['host killed', 4],
  ['host killed inside a save', 3],
  ['host frozen past its lease', 2],
  ['newest checkpoint damaged, host killed', 2],
  ['rescuer killed in a recovery', 2],
  ['recovery step fails twice', 1],
  ['store down in a recovery', 1],
  ['store refuses writes', 2],
  ['dependency fails, its circuit opens', 1],
  ['step throws a transient error', 1],
  ['work throws a transient error', 1],
];
/** Each kind once, then those again that come more often: so the first rounds show all there is. */
const ROUNDS: readonly Trouble[] = [1, 2, 3, 4].flatMap((time) =>
  MIX.flatMap(([trouble, rounds]) => (rounds >= time ? [trouble] : [])),
);

/** Of these the host is killed from outside, at a random moment. */
const KILLED: readonly Trouble[] = [
  'host killed',
  'rescuer killed in a recovery',
  'recovery step fails twice',
  'store down in a recovery',
];

/**
 * A fleet of three hosts that each run sessions and rescue those of the others. Round after round one of them is given ten
 * sessions, and something fails. Each session fails in one round, and loses its host twice at most: a session whose
 * host dies a fourth time within 72 hours is meant to be left to a person.
 */
export class FleetTrial {
  readonly #ground: FleetGround;
  readonly #random: SeededRandom;
  readonly #hosts: HostHandle[] = [];
  readonly #frozen = new Set<HostHandle>();
  #started = 0;

  constructor(ground: FleetGround, random: SeededRandom) {
    this.#ground = ground;
    this.#random = random;
  }

  /** Plays rounds until there were so many failures. */
  async run(failures: number): Promise<TrialResult> {
    const all: FleetFailure[] = [];
    const bad: string[] = [];
    for (let round = 0; all.length < failures; round++) {
      const trouble = ROUNDS[round % ROUNDS.length] as Trouble;
      const { ledgers, untold } = await this.#play(`r${round}`, trouble);
      bad.push(...untold);
      const endings = await this.#ground.endings(ledgers.map(({ session }) => session));
      const falls = this.#ground.facts.filter(({ kind }) => kind === 'fell');
      for (const ledger of ledgers) {
        all.push(...ledger.failures(falls, endings.get(ledger.session)));
        bad.push(...ledger.lost());
      }
      await this.#ground.forget();
      this.#ground.facts.length = 0;
    }
    return { summary: new FleetSummary(all), bad };
  }

  async #play(round: string, trouble: Trouble): Promise<{ ledgers: SessionLedger[]; untold: string[] }> {
    const { facts } = this.#ground;
    while (this.#hosts.length < HOSTS) this.#hosts.push(await this.#ground.start(`host-${this.#started++}`));
    const victim = this.#hosts.shift() as HostHandle;
    this.#hosts.push(victim);
    const sessions = Array.from({ length: SESSIONS_A_ROUND }, (_, at) => ({
      id: `${round}-${at}`,
      // One of them is in its save; the others lose their host with it.
      trouble: trouble === 'host killed inside a save' && at > 0 ? ('host killed' as const) : trouble,
    }));
    for (const session of sessions) victim.begin(session.id, session.trouble);
    await this.#strike(victim, trouble);
    await this.#untilOver(sessions.map(({ id }) => id));
    const untold = await this.#clearUp();
    return { untold, ledgers: sessions.map(({ id, trouble }) => new SessionLedger(id, trouble, facts)) };
  }

  /** Fails what fails from outside, when the sessions have come so far. */
  async #strike(victim: HostHandle, trouble: Trouble): Promise<void> {
    const isKilled = KILLED.includes(trouble);
    if (!isKilled && trouble !== 'host frozen past its lease') return;
    const saves = this.#random.integer(SESSIONS_A_ROUND * (STEPS - 1));
    await this.#until(() => this.#count('saved') >= saves);
    if (isKilled) await victim.kill();
    else await victim.freeze();
    this.#fell(victim.name);
    if (!isKilled) this.#frozen.add(victim);
  }

  #fell(host: string): void {
    const atMs = this.#ground.nowMs();
    this.#ground.facts.push({ atMs, host, kind: 'fell', session: '', fence: 0, count: 0, why: '' });
  }

  /** What a host did not come to say, because it was killed just then, its record says. */
  async #untilOver(ids: readonly string[]): Promise<void> {
    let passes = 0;
    let areOver = false;
    await this.#until(async () => {
      const left = ids.filter((id) => !this.#said('over', id));
      if (left.length === 0 || areOver) return true;
      if (++passes % 50 !== 0) return false;
      const endings = [...(await this.#ground.endings(left)).values()];
      areOver =
        endings.length === left.length &&
        endings.every(({ status, isQuarantined }) => status === 'completed' || isQuarantined);
      return areOver;
    });
  }

  /** Those that were frozen go on, and hear what they lost. Those that fell are replaced. Who was not told of what? */
  async #clearUp(): Promise<string[]> {
    const { facts } = this.#ground;
    const fallen = facts.filter(({ kind }) => kind === 'fell').map(({ host }) => host);
    const frozen = [...this.#frozen];
    const untold = () =>
      frozen.flatMap((host) => this.#heldBy(host).filter((id) => !this.#said('lost', id, host.name)));
    for (const host of frozen) host.thaw();
    await this.#until(() => untold().length === 0);
    const isLeft = (host: HostHandle) => this.#frozen.has(host) || !fallen.includes(host.name);
    this.#hosts.splice(0, this.#hosts.length, ...this.#hosts.filter(isLeft));
    this.#frozen.clear();
    return untold().map((id) => `${id}: the host that it was taken from was not told`);
  }

  /** Sessions that the host had, and somebody else had after it. */
  #heldBy({ name }: HostHandle): string[] {
    const held = this.#ground.facts.filter(({ kind }) => kind === 'held');
    const taken = held.filter((one) =>
      held.some(({ session, host, fence }) => session === one.session && host !== name && fence > one.fence),
    );
    return [...new Set(taken.filter(({ host }) => host === name).map(({ session }) => session))];
  }

  #said(kind: Fact['kind'], id: string, by?: string): boolean {
    const { facts } = this.#ground;
    return facts.some((fact) => fact.kind === kind && fact.session === id && (by === undefined || fact.host === by));
  }

  async #until(isSo: () => boolean | Promise<boolean>): Promise<void> {
    const lateMs = this.#ground.nowMs() + this.#ground.patienceMs;
    while (!(await isSo()) && this.#ground.nowMs() < lateMs) await this.#ground.pass();
  }

  #count(kind: Fact['kind']): number {
    return this.#ground.facts.filter((fact) => fact.kind === kind).length;
  }
}
