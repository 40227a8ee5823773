import type { CheckpointManager } from '../../../src/checkpoints/checkpoint-manager.js';
import type { SessionRegistry } from '../../../src/sessions/session-registry.js';
import { type Fact, STEPS, TROUBLES, type Trouble } from './fleet-fact.js';

/** One failure of one session, and what became of it. */
export interface FleetFailure {
  readonly session: string;
  readonly trouble: Trouble;
  /** From the failure until its work goes on; `undefined`: that never came. */
  readonly recoveredMs: number | undefined;
  /** Why a person is needed; `undefined`: none is. */
  readonly person: string | undefined;
}

/** What became of a session, as its record says in the end. */
export interface Ending {
  readonly status: string;
  readonly isQuarantined: boolean;
}

/** The endings of those sessions that there are. */
export async function endingsIn(
  sessions: SessionRegistry<CheckpointManager<unknown>>,
  ids: readonly string[],
): Promise<ReadonlyMap<string, Ending>> {
  const endings = new Map<string, Ending>();
  for (const id of ids) {
    const session = await sessions.get(id);
    if (session) endings.set(id, { status: session.status, isQuarantined: session.quarantined !== undefined });
  }
  return endings;
}

/** A host that fell, for good or for a while. */
type Fall = Pick<Fact, 'atMs' | 'host'>;

/** What was said of one session, in order of time. */
export class SessionLedger {
  readonly #facts: readonly Fact[];

  constructor(
    readonly session: string,
    readonly trouble: Trouble,
    facts: readonly Fact[],
  ) {
    this.#facts = facts.filter((fact) => fact.session === session).sort((one, other) => one.atMs - other.atMs);
  }

  /** Each failure of it, from what was said of hosts and of itself. */
  failures(falls: readonly Fall[], ending: Ending | undefined): FleetFailure[] {
    const person = this.#person(ending);
    const fallen = falls.filter((fall) => this.#wasHitBy(fall));
    const failures = fallen.map((fall, at) => {
      const goesOn = this.#facts.find(({ kind, fence }) => kind === 'begun' && fence > this.#fenceAt(fall));
      return this.#failure(this.#troubleOf(at), fall.atMs, { goesOn, person });
    });
    const trouble = this.#facts.find(({ kind }) => kind === 'trouble');
    if (trouble === undefined || fallen.length > 0) return failures;
    const isGoingOn = ({ kind, atMs }: Fact) => atMs > trouble.atMs && ['begun', 'saved', 'over'].includes(kind);
    return [...failures, this.#failure(this.trouble, trouble.atMs, { goesOn: this.#facts.find(isGoingOn), person })];
  }

  /**
   * States that somebody should have gone on from, and did not: whoever holds it next goes on from all that was, or ever
   * will be, acknowledged to those before, but for what was damaged on purpose.
   */
  lost(): string[] {
    const begun = this.#facts.filter(({ kind }) => kind === 'begun');
    return begun.flatMap(({ fence, count, host }) => {
      const intact = this.#facts.filter(
        (fact) => fact.kind === 'saved' && fact.fence < fence && !this.#isDamaged(fact),
      );
      const most = Math.max(0, ...intact.map((fact) => fact.count));
      return count >= most ? [] : [`${this.session}: ${host} went on from ${count}, ${most} was acknowledged`];
    });
  }

  #failure(
    trouble: Trouble,
    atMs: number,
    { goesOn, person }: { readonly goesOn: Fact | undefined; readonly person: string | undefined },
  ): FleetFailure {
    const recoveredMs = goesOn && goesOn.atMs - atMs;
    const isStuck = person === undefined && recoveredMs === undefined;
    return { session: this.session, trouble, recoveredMs, person: isStuck ? 'nobody went on with it' : person };
  }

  /** What the first fall was, and what the ones behind it. */
  #troubleOf(fall: number): Trouble {
    const isSpared = !this.#facts.some(({ kind }) => kind === 'damaged');
    if (this.trouble === 'newest checkpoint damaged, host killed' && isSpared) return 'host killed';
    if (this.trouble === 'rescuer killed in a recovery' && fall === 0) return 'host killed';
    return this.trouble;
  }

  #isDamaged({ fence, count }: Fact): boolean {
    return this.#facts.some((fact) => fact.kind === 'damaged' && fact.fence === fence && fact.count === count);
  }

  /** Did the host hold it at that moment, and had its work not ended? */
  #wasHitBy({ host, atMs }: Fall): boolean {
    const holder = this.#facts.findLast((fact) => fact.kind === 'held' && fact.atMs <= atMs);
    if (holder?.host !== host) return false;
    if (this.#facts.some((fact) => fact.kind === 'over' && fact.host === host)) return false;
    // It may have ended without having said so: then nobody goes on with it, and nobody has to.
    const isTaken = this.#facts.some((fact) => fact.kind === 'held' && fact.fence > holder.fence);
    const isDone = this.#facts.some((fact) => fact.kind === 'saved' && fact.count === STEPS);
    return isTaken || !isDone;
  }

  #fenceAt({ atMs }: Fall): number {
    return this.#facts.findLast((fact) => fact.kind === 'held' && fact.atMs <= atMs)?.fence ?? 0;
  }

  #person(ending: Ending | undefined): string | undefined {
    if (ending?.isQuarantined) return 'it is in quarantine';
    if (ending?.status === 'completed') return undefined;
    const why = this.#facts.findLast(({ kind }) => kind === 'given-up')?.why ?? 'nobody says why';
    return `it is ${ending?.status}: ${why}`;
  }
}

/** What became of all failures. */
export class FleetSummary {
  constructor(readonly failures: readonly FleetFailure[]) {}

  /** What is less than was promised: of so large a share nobody has to look, and the mean recovery takes less than that. */
  shortcomings(share: number, meanMs: number): string[] {
    const left = this.failures.filter(({ person }) => person !== undefined);
    const isEnough = 1 - left.length / this.failures.length >= share;
    const bad = isEnough ? [] : left.map(({ session, trouble, person }) => `${session} (${trouble}): ${person}`);
    const { mean } = this.#times(NOTICED);
    return mean < meanMs ? bad : [...bad, `it took ${mean.toFixed(0)} ms on average until the work went on`];
  }

  /** The figures, in a line. */
  get note(): string {
    const recovered = this.failures.filter(({ person }) => person === undefined).length;
    const share = `${((100 * recovered) / this.failures.length).toFixed(2)} % recovered without a person`;
    const frozen = this.#times([FROZEN]);
    return `${share}; work went on after ${inWords(this.#times(NOTICED))}; frozen: ${inWords(frozen)}; ${this.#mix}`;
  }

  #times(troubles: readonly Trouble[]): Times {
    const ms = this.failures
      .flatMap(({ trouble, recoveredMs }) =>
        recoveredMs !== undefined && troubles.includes(trouble) ? [recoveredMs] : [],
      )
      .sort((one, other) => one - other);
    const mean = ms.reduce((sum, one) => sum + one, 0) / ms.length;
    return { mean, p99: ms[Math.floor(ms.length * 0.99)] ?? Number.NaN, max: ms.at(-1) ?? Number.NaN };
  }

  /** How many of each kind there were, and how long they took on average. */
  get #mix(): string {
    const counted = TROUBLES.map((trouble) => {
      const count = this.failures.filter((failure) => failure.trouble === trouble).length;
      return `${count} ${trouble} (${this.#times([trouble]).mean.toFixed(0)} ms)`;
    });
    return counted.join(', ');
  }
}

interface Times {
  readonly mean: number;
  readonly p99: number;
  readonly max: number;
}

/** A process that was stopped is noticed when its lease is over, also on its own host. */
const FROZEN: Trouble = 'host frozen past its lease';
const NOTICED = TROUBLES.filter((trouble) => trouble !== FROZEN);

function inWords({ mean, p99, max }: Times): string {
  return `${mean.toFixed(0)} ms (99 %: ${p99.toFixed(0)} ms, longest ${max.toFixed(0)} ms)`;
}
