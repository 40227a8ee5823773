import type { Clock } from '../../../src/base/clock.js';
import { createHoldfast, type Holdfast } from '../../../src/holdfast.js';
import { encodeId } from '../../../src/records/keys.js';
import type { CheckpointedSession } from '../../../src/recovery/session-recovery.js';
import type { StorageAdapter } from '../../../src/storage/adapter.js';
import type { SeededRandom } from '../../../src/testing/seeded-random.js';
import { FailingStore } from './failing-store.js';
import { type Fact, STEPS, TROUBLES, type Trouble } from './fleet-fact.js';

interface FleetState {
  readonly count: number;
  readonly log: readonly string[];
}
type FleetSession = CheckpointedSession<FleetState>;

/** Where a host stands, and how fast time goes there. */
export interface HostParts {
  readonly storage: StorageAdapter;
  readonly clock: Clock;
  readonly random: SeededRandom;
  readonly leaseMs: number;
  /** One step of the work takes as long on average. */
  readonly stepMs: number;
  /** Between two looks for sessions that lost their host. */
  readonly pollMs: number;
  readonly say: (fact: Omit<Fact, 'atMs' | 'host'>) => void;
  /** Ends the host as `kill -9` does. Never resolves. */
  readonly die: () => Promise<never>;
  /** True for the first host that asks for this. */
  readonly isFirst: (what: string) => boolean;
}

/** In which step of its work a session meets its trouble: there are checkpoints to lose by then. */
const TROUBLED_STEP = 4;
const ATTEMPTS_THAT_FAIL = 2;

/**
 * What a careful user writes: sessions whose work asks a dependency and saves its state, and a look for interrupted sessions
 * now and then. Nothing in it knows what a recovery is.
 */
export class FleetHost {
  readonly #parts: HostParts;
  readonly #store: FailingStore;
  readonly #holdfast: Holdfast<FleetState>;
  /** When the dependency is up again, by round. */
  readonly #upMs = new Map<string, number>();
  /** How often something failed in a session. */
  readonly #failures = new Map<string, number>();
  readonly #sessions = new Map<string, FleetSession>();

  constructor(parts: HostParts) {
    this.#parts = parts;
    const { clock, leaseMs } = parts;
    this.#store = new FailingStore(parts.storage, clock, () => this.#fall());
    this.#holdfast = createHoldfast<FleetState>({
      storage: this.#store.adapter,
      clock,
      leaseMs,
      circuits: { defaults: { openMs: 20 * parts.stepMs } },
      recovery: {
        validate: (state, session) => this.#validate(state, session),
        // What must not happen here: nothing that was acknowledged is lost, so there is always more than this.
        minimal: () => ({ count: 0, log: [] }),
      },
    });
    this.#tellOfSessions();
  }

  /** Begins a session. When its work fails for now, it is run again. */
  async begin(id: string, trouble: Trouble): Promise<void> {
    const { retries } = this.#holdfast;
    const run = () => this.#holdfast.run(id, (session) => this.#work(session), { metadata: { trouble }, reopen: true });
    await retries
      .run(run, { maxRetries: 20, budget: false, classify: ({ error }) => (isPassing(error) ? 'retry' : 'fail') })
      .catch((error: unknown) => this.#giveUp(id, error));
  }

  /** Looks for sessions that lost their host, again and again. Those it finds are at work while it looks on. */
  async watch(): Promise<never> {
    for (;;) {
      void this.#rescue();
      await this.#parts.clock.sleep(this.#parts.pollMs);
    }
  }

  async #rescue(): Promise<void> {
    // A look that fails is made again: the store may be down.
    const report = await this.#holdfast.rescue((session) => this.#work(session)).catch(() => undefined);
    for (const { id, error } of report?.failed ?? []) {
      if (codeOf(error) === 'ECONNRESET') void this.begin(id, 'work throws a transient error');
      else this.#giveUp(id, error);
    }
  }

  async #work(session: FleetSession): Promise<void> {
    this.#sessions.set(session.id, session);
    let { count, log } = (await session.restore())?.state ?? { count: 0, log: [] };
    this.#say('begun', session, count);
    while (count < STEPS) {
      await this.#parts.clock.sleep(this.#parts.random() * 2 * this.#parts.stepMs);
      if (count + 1 === TROUBLED_STEP) await this.#meetTrouble(session);
      const state = { count: count + 1, log: [...log, `step ${count + 1} ${'.'.repeat(200)}`] };
      await this.#persist(session, () => session.checkpoint(state));
      ({ count, log } = state);
      this.#say('saved', session, count);
    }
  }

  /** Again and again until it is done, or the session is somebody else's. */
  #persist<Result>(session: FleetSession, act: () => Result | Promise<Result>, circuit?: string): Promise<Result> {
    const noted = async (): Promise<Result> => {
      try {
        return await act();
      } catch (error) {
        if (isPassing(error)) this.#noteTrouble(session);
        throw error;
      }
    };
    const waits = { kind: 'exponential', baseMs: this.#parts.stepMs, maxMs: 20 * this.#parts.stepMs } as const;
    return session.call(noted, {
      maxRetries: 100,
      budget: false,
      backoff: waits,
      ...(circuit !== undefined && { circuit }),
      classify: ({ error }) => (isPassing(error) ? 'retry' : 'fail'),
    });
  }

  /** Until there is an answer: while the circuit is open there is nothing to do but to wait. */
  async #ask(session: FleetSession): Promise<void> {
    for (;;) {
      try {
        return await this.#persist(session, () => this.#answer(session), 'dependency');
      } catch (error) {
        if (!isCircuitOpen(error)) throw error;
      }
      await this.#parts.clock.sleep(20 * this.#parts.stepMs, { signal: session.signal });
    }
  }

  /** What the dependency says. It is down when a session of the round asks first, and for a while. */
  #answer(session: FleetSession): void {
    const { clock, stepMs } = this.#parts;
    const round = roundOf(session.id);
    const upMs = this.#upMs.get(round) ?? clock.monotonicMs() + 20 * stepMs;
    this.#upMs.set(round, upMs);
    if (clock.monotonicMs() < upMs) this.#fail(session);
  }

  /** Only in its first life: what a session gets over must not come again and again. */
  async #meetTrouble(session: FleetSession): Promise<void> {
    if (session.fence !== 1) return;
    const { id } = session;
    switch (troubleOf(session)) {
      case 'host killed inside a save':
        this.#store.dieIn(checkpointsOf(id), this.#parts.random.chance(0.5));
        break;
      case 'newest checkpoint damaged, host killed':
        if (this.#parts.isFirst(`damage in ${roundOf(id)}`)) await this.#damageAll();
        break;
      case 'store refuses writes':
        this.#store.failFor(this.#parts.stepMs * 30, 'writes', this.#parts.random);
        break;
      case 'dependency fails, its circuit opens':
        await this.#ask(session);
        break;
      case 'step throws a transient error':
        await session.step('ask', () => this.#failAtFirst(session, ATTEMPTS_THAT_FAIL), { retry: 5 });
        break;
      case 'work throws a transient error':
        this.#failAtFirst(session, 1);
        break;
      default: // It comes from outside, or in the recovery.
    }
  }

  /** What the host asks of every state that a session is to go on from. */
  async #validate(state: FleetState, session: FleetSession): Promise<true | string> {
    const round = roundOf(session.id);
    switch (troubleOf(session)) {
      case 'rescuer killed in a recovery':
        if (this.#parts.isFirst(`rescuer of ${round}`)) await this.#fall();
        break;
      case 'recovery step fails twice':
        this.#failAtFirst(session, ATTEMPTS_THAT_FAIL);
        break;
      case 'store down in a recovery':
        if (this.#parts.isFirst(`store of ${round}`)) {
          this.#store.failFor(this.#parts.stepMs * 30, 'everything', this.#parts.random);
        }
        break;
      default: // It came before.
    }
    return state.log.length === state.count || 'its log is not whole';
  }

  #failAtFirst(session: FleetSession, times: number): void {
    const failures = this.#failures.get(session.id) ?? 0;
    if (failures >= times) return;
    this.#failures.set(session.id, failures + 1);
    this.#fail(session);
  }

  #fail(session: FleetSession): never {
    this.#noteTrouble(session);
    throw Object.assign(new Error('the connection was reset'), { code: 'ECONNRESET' });
  }

  /** The newest checkpoint of every session that is at work here becomes unreadable; then the host is killed. */
  async #damageAll(): Promise<void> {
    this.#store.hold();
    for (const session of this.#sessions.values()) {
      if (session.isOver) continue;
      const damaged = await this.#store.damageNewest(checkpointsOf(session.id), this.#parts.random);
      if (damaged !== undefined) this.#say('damaged', session, damaged);
    }
    await this.#fall();
  }

  async #fall(): Promise<never> {
    this.#parts.say({ kind: 'fell', session: '', fence: 0, count: 0, why: '' });
    return this.#parts.die();
  }

  #noteTrouble(session: FleetSession): void {
    this.#say('trouble', session, 0);
  }

  #giveUp(id: string, error: unknown): void {
    const why = error instanceof Error ? error.message : String(error);
    this.#parts.say({ kind: 'given-up', session: id, fence: 0, count: 0, why });
  }

  #say(kind: Fact['kind'], { id, fence }: FleetSession, count: number): void {
    this.#parts.say({ kind, session: id, fence, count, why: '' });
  }

  #tellOfSessions(): void {
    const { events } = this.#holdfast;
    const { say } = this.#parts;
    const of = (session: string) => ({ session, fence: 0, count: 0, why: '' });
    events.on('session.opened', ({ session, fence }) => say({ kind: 'held', ...of(session), fence }));
    events.on('session.taken-over', ({ session, fence }) => say({ kind: 'held', ...of(session), fence }));
    events.on('session.lost', ({ session }) => say({ kind: 'lost', ...of(session) }));
    events.on('session.completed', ({ session }) => say({ kind: 'over', ...of(session) }));
  }
}

function checkpointsOf(id: string): string {
  return `checkpoints/${encodeId(id, 'session')}/`;
}

/** Sessions are called by their round and a number in it. */
function roundOf(id: string): string {
  return id.slice(0, id.indexOf('-'));
}

function troubleOf({ metadata }: FleetSession): Trouble | undefined {
  return TROUBLES.find((trouble) => trouble === metadata.trouble);
}

const PASSING = ['ECONNRESET', 'HOLDFAST_STORAGE', 'HOLDFAST_NO_SPACE', 'HOLDFAST_OUTCOME_UNKNOWN'];

function isPassing(error: unknown): boolean {
  return PASSING.includes(codeOf(error));
}

function isCircuitOpen(error: unknown): boolean {
  return codeOf(error) === 'HOLDFAST_CIRCUIT_OPEN' || (error as { reason?: unknown } | null)?.reason === 'circuit-open';
}

function codeOf(error: unknown): string {
  return String((error as { code?: unknown } | null)?.code);
}
