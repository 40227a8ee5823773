import { coarseMonotonicMs } from '../base/clock.js';
import { emit } from '../base/emit.js';
import type { Permit } from './call-gate.js';
import { verdictOn } from './circuit-classify.js';
import type { CircuitStats } from './circuit-event.js';
import type { CircuitMachine } from './circuit-machine.js';
import { CircuitOpenError } from './circuit-open-error.js';
import type { CircuitVerdict } from './circuit-options.js';
import { CallPermit, type PermitIssuer, SharedPermit, TimedPermit, UNCOUNTED } from './circuit-permit.js';
import type { CountedCall } from './circuit-watch.js';

/** How a call was let in. */
interface Admission {
  readonly generation: number;
  readonly timed: TimedPermit | undefined;
}

/** Lets calls through a circuit or refuses them, counts them, and tells the machine what their outcomes mean. */
export class CircuitTraffic implements PermitIssuer {
  readonly #machine: CircuitMachine;
  readonly #isSuccessPlain: boolean;
  #calls = 0;
  #successes = 0;
  #failures = 0;
  #ignored = 0;
  #slow = 0;
  #rejected = 0;
  #shared: SharedPermit | undefined;

  constructor(machine: CircuitMachine) {
    const { classify, trip } = machine.settings;
    this.#machine = machine;
    this.#isSuccessPlain = classify === undefined && !trip.some(({ kind }) => kind === 'custom');
  }

  get callsLetIn(): number {
    return this.#calls;
  }

  /** Calls let through that have not ended. */
  get inFlight(): number {
    return this.#calls - this.#successes - this.#failures - this.#ignored;
  }

  tryAcquire(): Permit | undefined {
    const machine = this.#machine;
    if (!machine.isPlain) return this.#acquire(machine.settings.clock.monotonicMs());
    this.#calls++;
    return new CallPermit(this, machine.generation);
  }

  /** As `tryAcquire`, for those who say exactly once how the call ended: on the way of nearly all it makes nothing. */
  admit(): Permit | undefined {
    const machine = this.#machine;
    if (!machine.isPlain) return this.#acquire(machine.settings.clock.monotonicMs());
    this.#calls++;
    if (this.#shared?.generation !== machine.generation) this.#shared = new SharedPermit(this, machine.generation);
    return this.#shared;
  }

  /** A call was refused; coarse time makes the wait at most 25 ms longer than needed. */
  refusal(): CircuitOpenError {
    const { name, lastFailure, settings } = this.#machine;
    const retryAfterMs = this.#machine.retryAfterMs(coarseMonotonicMs(settings.clock));
    return new CircuitOpenError(name, retryAfterMs, lastFailure === undefined ? undefined : { cause: lastFailure });
  }

  /**
   * For a health check: whom to tell its result. While half-open it is a probe like any other. Undefined: there is
   * nothing to find out, or no place for it.
   */
  beginCheck(): Permit | undefined {
    const machine = this.#machine;
    const nowMs = machine.settings.clock.monotonicMs();
    machine.catchUp(nowMs);
    if (machine.state !== 'closed') return this.#probe(nowMs);
    const threw = (error: unknown, generation: number) => {
      if (generation === machine.generation) machine.open('health-check', error);
    };
    return new CallPermit({ returned() {}, threw, ignored() {} }, machine.generation);
  }

  returned(value: unknown, generation: number, timed?: TimedPermit): void {
    const machine = this.#machine;
    if (timed === undefined && this.#isSuccessPlain) {
      this.#successes++;
      if (generation === machine.generation) machine.watch.success();
    } else {
      this.#settle(verdictOn({ value }, machine.name, machine.settings), value, { generation, timed });
    }
  }

  threw(error: unknown, generation: number, timed?: TimedPermit): void {
    const { name, settings } = this.#machine;
    this.#settle(verdictOn({ error }, name, settings), error, { generation, timed });
  }

  ignored(generation: number, timed?: TimedPermit): void {
    this.#settle('ignore', undefined, { generation, timed });
  }

  stats(): CircuitStats {
    const { name, state, openings, isMetricsOnly, settings } = this.#machine;
    return {
      name,
      state,
      calls: this.#calls,
      successes: this.#successes,
      failures: this.#failures,
      ignored: this.#ignored,
      slow: this.#slow,
      rejected: this.#rejected,
      openings,
      inFlight: this.inFlight,
      isMeasuring: state !== 'disabled' || isMetricsOnly,
      retryAfterMs: this.#machine.retryAfterMs(settings.clock.monotonicMs()),
    };
  }

  #acquire(nowMs: number): Permit | undefined {
    const machine = this.#machine;
    machine.catchUp(nowMs);
    machine.monitored?.replay('fire', []);
    if (machine.state === 'disabled') return machine.isMetricsOnly ? this.#begin(nowMs) : UNCOUNTED;
    if (machine.state === 'closed') {
      const reason = machine.watch.verdictOnRunning(nowMs);
      if (reason !== undefined) machine.open(reason);
      else if (machine.isLetIn(nowMs)) return this.#begin(nowMs);
    }
    return this.#probe(nowMs) ?? this.#refuse(nowMs);
  }

  #begin(nowMs: number): TimedPermit {
    this.#calls++;
    const permit = new TimedPermit(this, this.#machine.generation, nowMs);
    this.#machine.watch.begun(permit);
    return permit;
  }

  #probe(nowMs: number): TimedPermit | undefined {
    const { probation, generation } = this.#machine;
    if (!probation?.hasRoom) return undefined;
    this.#calls++;
    const permit = new TimedPermit(this, generation, nowMs);
    probation.begin(permit);
    return permit;
  }

  #refuse(nowMs: number): undefined {
    const { name, settings, monitored } = this.#machine;
    this.#rejected++;
    monitored?.replay('reject', this.refusal());
    if (settings.emit === undefined) return;
    const retryAfterMs = this.#machine.retryAfterMs(nowMs);
    const known = retryAfterMs === Number.POSITIVE_INFINITY ? undefined : { retryAfterMs };
    emit(settings.emit, { type: 'circuit.rejected', circuit: name, ...known });
  }

  #settle(verdict: CircuitVerdict, result: unknown, { generation, timed }: Admission): void {
    const machine = this.#machine;
    const { clock, slowCallMs = Number.POSITIVE_INFINITY } = machine.settings;
    const durationMs = timed === undefined ? 0 : clock.monotonicMs() - timed.startedMs;
    const isSlow = verdict !== 'ignore' && durationMs > slowCallMs;
    this.#count(verdict, isSlow);
    if (timed !== undefined) machine.monitored?.replayEnd(verdict, result, durationMs);
    if (generation !== machine.generation) return; // Old news: the circuit has changed since this call was let in.
    const call = { isFailure: verdict === 'failure', isSlow, result };
    if (timed !== undefined && machine.probation !== undefined) {
      machine.probation.end(timed);
      if (verdict !== 'ignore') this.#judgeProbe(call);
      return;
    }
    if (timed !== undefined) machine.watch.ended(timed);
    const reason = verdict === 'ignore' ? undefined : machine.watch.record(call);
    if (reason !== undefined && machine.state === 'closed') machine.open(reason, call.isFailure ? result : undefined);
  }

  #judgeProbe({ isFailure, isSlow, result }: CountedCall): void {
    const machine = this.#machine;
    if (isFailure) machine.open('probe-failed', result);
    else if (isSlow) machine.open('probe-slow');
    else if (machine.probation?.passed()) machine.recover();
  }

  #count(verdict: CircuitVerdict, isSlow: boolean): void {
    if (verdict === 'ignore') this.#ignored++;
    else if (verdict === 'success') this.#successes++;
    else this.#failures++;
    if (isSlow) this.#slow++;
  }
}
