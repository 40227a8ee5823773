import * as z from 'zod';
import { parseOptions } from '../base/options.js';
import type { Call, RunContext } from './attempt.js';
import type { CallGate, Permit } from './call-gate.js';
import { CallScope, requireFunction } from './call-scope.js';
import { wasGivenUp } from './circuit-classify.js';
import type { CircuitState, CircuitStats } from './circuit-event.js';
import { type HealthCheck, startHealthChecks } from './circuit-health.js';
import { CircuitMachine } from './circuit-machine.js';
import type { CircuitOpenError } from './circuit-open-error.js';
import { type CircuitBreakerOptions, readCircuitOptions } from './circuit-options.js';
import { type CircuitSnapshot, snapshotSchema } from './circuit-snapshot.js';
import { CircuitTraffic } from './circuit-traffic.js';
import type { Policy } from './policy.js';

const forMsSchema = z.number().min(0).optional();
const everyMsSchema = z.number().gt(0);

/**
 * Stops calling what fails: after too many failures calls are refused at once with `CircuitOpenError`, for a while; then
 * single calls try whether it is back. The failing dependency gets air, its callers get quick answers.
 *
 * Share one breaker among all calls to one dependency; `CircuitRegistry` keeps many by name.
 */
export class CircuitBreaker implements Policy, CallGate {
  readonly #machine: CircuitMachine;
  readonly #traffic: CircuitTraffic;
  #checks: Set<() => void> | undefined;

  /** @throws InvalidInputError naming the option that cannot be used. */
  constructor(options: CircuitBreakerOptions) {
    this.#machine = new CircuitMachine(readCircuitOptions(options));
    this.#traffic = new CircuitTraffic(this.#machine);
  }

  /** As it was given; events and errors carry it. */
  get name(): string {
    return this.#machine.name;
  }

  /** Where it stands now. */
  get state(): CircuitState {
    this.#machine.catchUp(this.#nowMs());
    return this.#machine.state;
  }

  /** Milliseconds until it is worth asking again: 0 when calls are let through, Infinity while isolated. */
  get retryAfterMs(): number {
    return this.#machine.retryAfterMs(this.#nowMs());
  }

  /** True after `dispose`, or when a registry had no room for it any more. It works on, but wakes for nobody. */
  get isDisposed(): boolean {
    return this.#machine.isDisposed;
  }

  /** Calls it has let in so far. */
  get callsLetIn(): number {
    return this.#traffic.callsLetIn;
  }

  /** Closed, no call under way, and nothing that would be missed if it were made anew: what a registry evicts first. */
  get isAtRest(): boolean {
    return this.#traffic.inFlight === 0 && this.#checks === undefined && this.#machine.isClean;
  }

  /**
   * Runs `call` if the circuit lets it through; its result and its errors pass untouched.
   * @throws CircuitOpenError at once, without calling, if not.
   */
  run<T>(call: Call<T>, context?: RunContext): Promise<T> {
    return context === undefined ? this.#runAlone(call) : this.#runWithin(call, context);
  }

  /**
   * For calls that are not made through `run`: the right to make one, or undefined. Whoever gets it must say how the
   * call ended, by `success`, `failure` or `ignore`; `classify` is asked about the first two.
   */
  tryAcquire(): Permit | undefined {
    return this.#traffic.tryAcquire();
  }

  /** As `tryAcquire`, and cheaper: the permit is shared, so that it must be told exactly once how the call ended. */
  admit(): Permit | undefined {
    return this.#traffic.admit();
  }

  /** True if it is isolated, or open for at least another `ms` milliseconds. */
  isOpenFor(ms: number): boolean {
    const { state } = this;
    return state === 'isolated' || (state === 'open' && this.retryAfterMs > ms);
  }

  /** What to throw when there was no permit. */
  refusal(): CircuitOpenError {
    return this.#traffic.refusal();
  }

  /**
   * Opens it by hand: for `forMs` milliseconds, or for as long as the options say. Opened again, the time starts anew.
   * @throws InvalidInputError unless `forMs` is a finite number that is not negative. For an open end use `isolate`.
   */
  open(forMs?: number): void {
    const namedMs = forMs === undefined ? undefined : parseOptions(forMsSchema, forMs, 'forMs');
    this.#machine.open('by-hand', undefined, namedMs);
  }

  /** Lets calls through again, whatever the state was, and starts clean: no failure and no opening is remembered. */
  close(): void {
    this.#machine.close();
  }

  /** Refuses all calls until `close`: the dependency is known to be away, or must be left alone. */
  isolate(): void {
    this.#machine.isolate();
  }

  /** Lets all calls through and counts nothing, until `close`. */
  disable(): void {
    this.#machine.disable(false);
  }

  /** Lets all calls through and counts them, but never opens, until `close`: to see what it would have to deal with. */
  metricsOnly(): void {
    this.#machine.disable(true);
  }

  /** What to keep so that a restart does not forget an outage. */
  snapshot(): CircuitSnapshot {
    return this.#machine.snapshot();
  }

  /**
   * Continues where a snapshot was taken, also one of another circuit. One that was open waits for what was left; one
   * that was half-open tries again with the next call.
   * @throws InvalidInputError if it is no snapshot. The circuit is then as it was.
   */
  restore(snapshot: CircuitSnapshot): void {
    this.#machine.restore(parseOptions(snapshotSchema, snapshot, 'snapshot'));
  }

  /** What went through it since it was made. */
  stats(): CircuitStats {
    this.#machine.catchUp(this.#nowMs());
    return this.#traffic.stats();
  }

  /**
   * Runs `check` every `everyMs` milliseconds, one at a time. One that throws opens a closed circuit; while half-open
   * its result counts like that of a probe, so that no user has to be one. It is given `halfOpen.maxMs`, and a signal
   * that aborts then and when it is stopped. Does not keep the process alive. Returns how to stop.
   * @throws TypeError if `check` is not a function, InvalidInputError unless `everyMs` is a number above 0.
   */
  healthCheck(check: HealthCheck, everyMs: number): () => void {
    requireFunction(check, 'check');
    const { clock, halfOpen } = this.#machine.settings;
    const stopChecks = startHealthChecks({
      clock,
      check,
      everyMs: parseOptions(everyMsSchema, everyMs, 'everyMs'),
      maxMs: halfOpen.maxMs,
      begin: () => this.#traffic.beginCheck(),
    });
    const stop = () => {
      stopChecks();
      this.#checks?.delete(stop);
      if (this.#checks?.size === 0) this.#checks = undefined;
    };
    this.#checks ??= new Set();
    this.#checks.add(stop);
    return stop;
  }

  /**
   * The opossum instance behind this circuit, for opossum-prometheus and dashboards. From the first call on every call
   * is replayed on it as events, which makes each several times as expensive. Look and listen only: what is done to it
   * by hand does not change this circuit.
   */
  monitor(): unknown {
    return this.#machine.monitor();
  }

  /** Stops health checks, timers and monitoring. Calls go on, and the state stays right for whoever asks. */
  dispose(): void {
    for (const stop of this.#checks ?? []) stop();
    this.#machine.dispose();
  }

  /** Nobody can give up on a call without a context. */
  async #runAlone<T>(call: Call<T>): Promise<T> {
    requireFunction(call, 'call');
    const permit = this.#traffic.admit();
    if (permit === undefined) throw this.#traffic.refusal();
    try {
      const value = await call(new CallScope(1));
      permit.success(value);
      return value;
    } catch (error) {
      permit.failure(error);
      throw error;
    }
  }

  /** That somebody gave up is known at once, also of a call that hangs. */
  async #runWithin<T>(call: Call<T>, context: RunContext): Promise<T> {
    requireFunction(call, 'call');
    const scope = CallScope.of(context, this.#machine.settings.clock);
    let permit: Permit | undefined;
    try {
      if (scope.isAborted) throw scope.reason;
      permit = this.#traffic.admit();
      if (permit === undefined) throw this.#traffic.refusal();
      const value = await scope.race(Promise.resolve(call(scope)));
      permit.success(value);
      return value;
    } catch (error) {
      if (wasGivenUp(scope)) permit?.ignore();
      else permit?.failure(error);
      throw error;
    } finally {
      if (scope !== context) scope.end();
    }
  }

  #nowMs(): number {
    return this.#machine.settings.clock.monotonicMs();
  }
}

/** As a policy for `compose`. A breaker is returned as it is, so that stacks can share one. */
export function circuitBreaker(optionsOrBreaker: CircuitBreakerOptions | CircuitBreaker): CircuitBreaker {
  return optionsOrBreaker instanceof CircuitBreaker ? optionsOrBreaker : new CircuitBreaker(optionsOrBreaker);
}
