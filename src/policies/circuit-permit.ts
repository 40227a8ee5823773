import type { Permit } from './call-gate.js';

/** Who hears how calls ended. `generation` is the one the call was let through in: later ones do not care any more. */
export interface PermitIssuer {
  returned(value: unknown, generation: number, timed?: TimedPermit): void;
  threw(error: unknown, generation: number, timed?: TimedPermit): void;
  ignored(generation: number, timed?: TimedPermit): void;
}

/** In place of the generation, once it was said how the call ended. */
const SETTLED = -1;

/** For a call of which only the outcome matters, held by a host: only the first word counts. */
export class CallPermit implements Permit {
  readonly #issuer: PermitIssuer;
  #generation: number;

  constructor(issuer: PermitIssuer, generation: number) {
    this.#issuer = issuer;
    this.#generation = generation;
  }

  success(value?: unknown): void {
    const generation = this.#generation;
    if (generation === SETTLED) return;
    this.#generation = SETTLED;
    this.#issuer.returned(value, generation);
  }

  failure(error: unknown): void {
    const generation = this.#generation;
    if (generation === SETTLED) return;
    this.#generation = SETTLED;
    this.#issuer.threw(error, generation);
  }

  ignore(): void {
    const generation = this.#generation;
    if (generation === SETTLED) return;
    this.#generation = SETTLED;
    this.#issuer.ignored(generation);
  }
}

/** For all calls of one generation whose owners say once how they ended: nothing has to be made for each. */
export class SharedPermit implements Permit {
  readonly #issuer: PermitIssuer;
  readonly generation: number;

  constructor(issuer: PermitIssuer, generation: number) {
    this.#issuer = issuer;
    this.generation = generation;
  }

  success(value?: unknown): void {
    this.#issuer.returned(value, this.generation);
  }

  failure(error: unknown): void {
    this.#issuer.threw(error, this.generation);
  }

  ignore(): void {
    this.#issuer.ignored(this.generation);
  }
}

/** For a call whose duration matters too. Those in flight form a list, the oldest first. */
export class TimedPermit implements Permit {
  readonly #issuer: PermitIssuer;
  #generation: number;
  readonly startedMs: number;
  older: TimedPermit | undefined = undefined;
  newer: TimedPermit | undefined = undefined;
  /** It still runs and was found to be slow. */
  isOverdue = false;

  constructor(issuer: PermitIssuer, generation: number, startedMs: number) {
    this.#issuer = issuer;
    this.#generation = generation;
    this.startedMs = startedMs;
  }

  success(value?: unknown): void {
    const generation = this.#settle();
    if (generation !== SETTLED) this.#issuer.returned(value, generation, this);
  }

  failure(error: unknown): void {
    const generation = this.#settle();
    if (generation !== SETTLED) this.#issuer.threw(error, generation, this);
  }

  ignore(): void {
    const generation = this.#settle();
    if (generation !== SETTLED) this.#issuer.ignored(generation, this);
  }

  #settle(): number {
    const generation = this.#generation;
    this.#generation = SETTLED;
    return generation;
  }
}

/** For a call through a disabled circuit: nobody counts. */
export const UNCOUNTED: Permit = Object.freeze({ success() {}, failure() {}, ignore() {} });

/** Calls under way, the oldest first. Each is found to be slow at most once, however often one asks. */
export class InFlightCalls {
  readonly #slowCallMs: number;
  #newest: TimedPermit | undefined;
  /** The oldest one that is not known to be slow. */
  #oldestInTime: TimedPermit | undefined;
  #overdue = 0;

  constructor(slowCallMs: number) {
    this.#slowCallMs = slowCallMs;
  }

  add(call: TimedPermit): void {
    call.older = this.#newest;
    if (this.#newest !== undefined) this.#newest.newer = call;
    this.#newest = call;
    this.#oldestInTime ??= call;
  }

  remove(call: TimedPermit): void {
    if (call.older !== undefined) call.older.newer = call.newer;
    if (call.newer !== undefined) call.newer.older = call.older;
    if (this.#newest === call) this.#newest = call.older;
    if (this.#oldestInTime === call) this.#oldestInTime = call.newer;
    if (call.isOverdue) this.#overdue--;
    call.older = call.newer = undefined; // A permit that somebody keeps must not keep others.
  }

  /** How many have been running for longer than is fine. */
  overdueAt(nowMs: number): number {
    let call = this.#oldestInTime;
    for (; call !== undefined && nowMs - call.startedMs > this.#slowCallMs; call = call.newer) {
      call.isOverdue = true;
      this.#overdue++;
    }
    this.#oldestInTime = call;
    return this.#overdue;
  }
}

/** Half-open: how many may try, who is trying, and how many did well. */
export class Probation {
  readonly #limits: { readonly permits: number; readonly successes: number; readonly maxMs: number };
  /** In the order they began. */
  readonly #probes = new Set<TimedPermit>();
  #successes = 0;

  constructor(limits: { readonly permits: number; readonly successes: number; readonly maxMs: number }) {
    this.#limits = limits;
  }

  get hasRoom(): boolean {
    return this.#probes.size < this.#limits.permits;
  }

  begin(probe: TimedPermit): void {
    this.#probes.add(probe);
  }

  end(probe: TimedPermit): void {
    this.#probes.delete(probe);
  }

  /** One more did well. True: that is enough. */
  passed(): boolean {
    return ++this.#successes >= this.#limits.successes;
  }

  /** Milliseconds that the oldest probe has left; negative: it is hung; undefined: there is none. */
  leftMs(nowMs: number): number | undefined {
    for (const oldest of this.#probes) return oldest.startedMs + this.#limits.maxMs - nowMs;
    return undefined;
  }
}
