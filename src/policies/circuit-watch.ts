import { coarseMonotonicMs } from '../base/clock.js';
import type { OpenReason } from './circuit-event.js';
import type { CircuitSettings } from './circuit-options.js';
import { InFlightCalls, type TimedPermit } from './circuit-permit.js';
import { type OutcomeWindow, outcomeWindow } from './outcome-window.js';

/** A call that ended and counts. `result` is what it threw or returned. */
export interface CountedCall {
  readonly isFailure: boolean;
  readonly isSlow: boolean;
  readonly result: unknown;
}

/** All trip rules of one circuit at work, and the calls in flight that may turn out to be slow. */
export class TripWatch {
  readonly #settings: CircuitSettings;
  readonly #windows: readonly OutcomeWindow[];
  #inFlight: InFlightCalls | undefined;
  /** Successes that the windows have not heard of, and when they were. */
  #waiting = 0;
  #readAtMs = 0;

  constructor(circuit: string, settings: CircuitSettings) {
    this.#settings = settings;
    this.#windows = settings.trip.map((rule) => outcomeWindow(rule, circuit, settings.clock));
    this.#inFlight = this.#emptyList();
  }

  begun(call: TimedPermit): void {
    this.#inFlight?.add(call);
  }

  ended(call: TimedPermit): void {
    this.#inFlight?.remove(call);
  }

  /**
   * A call that did well, in time. No rule but one of the host's opens at that, and those are told by `record`. The
   * windows hear of all that ended within one reading of the coarse clock together: nearly every call passes here.
   */
  success(): void {
    const nowMs = coarseMonotonicMs(this.#settings.clock);
    if (nowMs !== this.#readAtMs) this.#pass();
    this.#readAtMs = nowMs;
    this.#waiting++;
  }

  /** Why the circuit has to open after this call. */
  record({ isFailure, isSlow, result }: CountedCall): OpenReason | undefined {
    const { trip, clock } = this.#settings;
    this.#pass();
    const overdue = this.#inFlight?.overdueAt(clock.monotonicMs()) ?? 0;
    let reason: OpenReason | undefined;
    for (const [index, window] of this.#windows.entries()) {
      if (isFailure) window.failure(isSlow, result);
      else window.success(isSlow);
      if (isFailure || isSlow || trip[index]?.kind === 'custom') reason ??= window.verdict(overdue);
    }
    return reason;
  }

  /** Why the circuit has to open now, because of calls that still run. */
  verdictOnRunning(nowMs: number): OpenReason | undefined {
    const overdue = this.#inFlight?.overdueAt(nowMs) ?? 0;
    if (overdue === 0) return undefined;
    this.#pass();
    for (const window of this.#windows) {
      const reason = window.verdict(overdue);
      if (reason !== undefined) return reason;
    }
    return undefined;
  }

  isClean(): boolean {
    this.#pass();
    return this.#windows.every((window) => window.isClean());
  }

  /** As if no call had been made. Those that still run are no longer watched. */
  reset(): void {
    this.#waiting = 0;
    for (const window of this.#windows) window.reset();
    this.#inFlight = this.#emptyList();
  }

  #pass(): void {
    if (this.#waiting === 0) return;
    for (const window of this.#windows) window.successes(this.#waiting, this.#readAtMs);
    this.#waiting = 0;
  }

  #emptyList(): InFlightCalls | undefined {
    const { slowCallMs } = this.#settings;
    return slowCallMs === undefined ? undefined : new InFlightCalls(slowCallMs);
  }
}
