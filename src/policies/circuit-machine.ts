import { emit } from '../base/emit.js';
import { CircuitEngine } from './circuit-engine.js';
import type { CircuitEvent, CircuitState, OpenReason } from './circuit-event.js';
import type { CircuitSettings, ReadCircuitOptions } from './circuit-options.js';
import { Probation } from './circuit-permit.js';

import type { CircuitSnapshot } from './circuit-snapshot.js';
import { OpenTimes, Ramp } from './circuit-timing.js';
import { TripWatch } from './circuit-watch.js';
import { inWords } from './in-words.js';

/** Callers beyond the probes of a half-open circuit should ask again after this: by then a probe has mostly ended. */
const PROBE_PATIENCE_MS = 1_000;

/**
 * The states of a circuit and what leads from one to the next. Every change begins a new generation, so that what calls
 * of an older one report can be told from news. Time passes here without timers: `catchUp` comes before each look.
 */
export class CircuitMachine {
  readonly name: string;
  readonly settings: CircuitSettings;
  readonly #onChange: ((name: string) => void) | undefined;
  #state: CircuitState = 'closed';
  #generation = 0;
  #isPlain: boolean;
  #isMetricsOnly = false;
  #isMonitored = false;
  #isDisposed = false;
  #openings = 0;
  #openUntilMs = 0;
  #lastFailure: unknown;
  #probation: Probation | undefined;
  // Made when needed: most circuits of a registry never open, and many are never called.
  #watch: TripWatch | undefined;
  #openTimes: OpenTimes | undefined;
  #ramp: Ramp | undefined;
  #engine: CircuitEngine | undefined;

  constructor({ name, settings, onChange }: ReadCircuitOptions) {
    this.name = name;
    this.settings = settings;
    this.#onChange = onChange;
    this.#isPlain = settings.slowCallMs === undefined;
  }

  /** As of the last `catchUp`. */
  get state(): CircuitState {
    return this.#state;
  }

  get generation(): number {
    return this.#generation;
  }

  /** Closed, and nothing to do with calls but to count them: the way of nearly all. */
  get isPlain(): boolean {
    return this.#isPlain;
  }

  /** Disabled, but calls are counted. */
  get isMetricsOnly(): boolean {
    return this.#isMetricsOnly;
  }

  get isDisposed(): boolean {
    return this.#isDisposed;
  }

  get openings(): number {
    return this.#openings;
  }

  /** What opened it, or kept it open. */
  get lastFailure(): unknown {
    return this.#lastFailure;
  }

  /** There while half-open. */
  get probation(): Probation | undefined {
    return this.#probation;
  }

  /** The engine to replay calls on, if somebody monitors it. */
  get monitored(): CircuitEngine | undefined {
    return this.#isMonitored ? this.#engine : undefined;
  }

  get watch(): TripWatch {
    this.#watch ??= new TripWatch(this.name, this.settings);
    return this.#watch;
  }

  /** Closed, with nothing remembered that would be missed. */
  get isClean(): boolean {
    const isRamping = this.#ramp !== undefined && !this.#ramp.isOver(this.settings.clock.monotonicMs());
    if (this.#state !== 'closed' || isRamping || this.#isMonitored) return false;
    this.#openTimes?.forgetIfOld(this.settings.clock);
    return (this.#openTimes?.openingsInARow ?? 0) === 0 && (this.#watch?.isClean() ?? true);
  }

  /** Does what became due: the open time ran out, or a probe never ended. */
  catchUp(nowMs: number): void {
    if (this.#state === 'open' && nowMs >= this.#openUntilMs) this.#halfOpen();
    const leftMs = this.#probation?.leftMs(nowMs);
    if (leftMs !== undefined && leftMs <= 0) this.open('probe-hung');
  }

  /** Closed, may this call pass? While a ramp leads back to normal, only a share may. */
  isLetIn(nowMs: number): boolean {
    if (this.#ramp?.isOver(nowMs)) {
      this.#ramp = undefined;
      this.#plan();
    }
    return this.#ramp?.admits(nowMs) ?? true;
  }

  /** Rounded up, so that whoever comes back then is not too early. */
  retryAfterMs(nowMs: number): number {
    if (this.#state === 'isolated') return Number.POSITIVE_INFINITY;
    if (this.#state === 'open') return Math.max(0, Math.ceil(this.#openUntilMs - nowMs));
    if (this.#ramp !== undefined) return Math.ceil(this.#ramp.retryAfterMs(nowMs));
    if (this.#probation === undefined || this.#probation.hasRoom) return 0;
    return Math.ceil(Math.min(PROBE_PATIENCE_MS, this.#probation.leftMs(nowMs) ?? 0));
  }

  /** `namedMs`: open for as long as somebody said, in place of what the options say. */
  open(reason: OpenReason, failure?: unknown, namedMs?: number): void {
    const { clock } = this.settings;
    const times = this.#times();
    if (this.#state === 'closed') times.forgetIfOld(clock);
    const openForMs = times.next({ circuit: this.name, settings: this.settings, failure, namedMs });
    if (failure !== undefined) this.#lastFailure = failure;
    if (reason !== 'restored') this.#openings++;
    this.#openUntilMs = clock.monotonicMs() + openForMs;
    this.#enter('open');
    if (!this.#isDisposed) this.#startedEngine().open(openForMs);
    const error = failure === undefined ? undefined : { error: inWords(failure) };
    this.#tell({ type: 'circuit.opened', circuit: this.name, openForMs, reason, ...error });
  }

  /** Enough probes did well. */
  recover(): void {
    const { ramp, clock } = this.settings;
    this.#close();
    if (ramp !== undefined) this.#ramp = new Ramp(ramp, clock.monotonicMs());
    this.#plan();
    this.#tell({ type: 'circuit.closed', circuit: this.name });
  }

  /** By hand: whatever was is forgotten. */
  close(): void {
    const wasClosed = this.#state === 'closed';
    this.#openTimes?.forget();
    this.#close();
    if (!wasClosed) this.#tell({ type: 'circuit.closed', circuit: this.name });
  }

  isolate(): void {
    if (this.#state === 'isolated') return;
    this.#enter('isolated');
    this.#engine?.open(Number.POSITIVE_INFINITY);
    this.#retireEngine();
    this.#tell({ type: 'circuit.isolated', circuit: this.name });
  }

  disable(isMetricsOnly: boolean): void {
    if (this.#state === 'disabled' && this.#isMetricsOnly === isMetricsOnly) return;
    this.#enter('disabled');
    this.#isMetricsOnly = isMetricsOnly;
    this.#engine?.close();
    this.#retireEngine();
    this.#tell({ type: 'circuit.disabled', circuit: this.name, isMeasuring: isMetricsOnly });
  }

  snapshot(): CircuitSnapshot {
    const nowMs = this.settings.clock.monotonicMs();
    this.catchUp(nowMs);
    return {
      version: 1,
      name: this.name,
      state: this.#state,
      isMetricsOnly: this.#isMetricsOnly,
      openForMs: this.#state === 'open' ? this.#openUntilMs - nowMs : 0,
      openingsInARow: this.#openTimes?.openingsInARow ?? 0,
      lastOpenMs: this.#openTimes?.lastOpenMs ?? 0,
    };
  }

  restore({ state, isMetricsOnly, openForMs, openingsInARow, lastOpenMs }: CircuitSnapshot): void {
    if (state === 'isolated') this.isolate();
    else if (state === 'disabled') this.disable(isMetricsOnly);
    else if (state === 'closed') this.close();
    else this.open('restored', undefined, state === 'open' ? openForMs : 0); // The probes of back then are gone.
    this.#times().restore({ openingsInARow, lastOpenMs }, this.settings.clock);
  }

  /** From now on calls are replayed on opossum, which stays. */
  monitor(): unknown {
    const engine = this.#startedEngine();
    if (this.#state === 'isolated' && !this.#isMonitored) engine.open(Number.POSITIVE_INFINITY);
    this.#isMonitored = true;
    this.#plan();
    return engine.monitor;
  }

  /** Nothing is timed any more. Whoever asks still gets the right answer. */
  dispose(): void {
    this.#isDisposed = true;
    this.#isMonitored = false;
    this.#retireEngine();
    this.#plan();
  }

  #halfOpen(): void {
    this.#enter('half-open');
    this.#probation = new Probation(this.settings.halfOpen);
    this.#engine?.halfOpen();
    this.#tell({ type: 'circuit.half-opened', circuit: this.name });
  }

  #close(): void {
    this.#enter('closed');
    this.#lastFailure = undefined;
    this.#watch?.reset(); // What was before the outage must not open it again.
    this.#openTimes?.closed(this.settings.clock);
    this.#engine?.close();
    this.#retireEngine();
  }

  #enter(state: CircuitState): void {
    this.#state = state;
    this.#generation++;
    this.#isMetricsOnly = false;
    this.#probation = undefined;
    this.#ramp = undefined;
    this.#plan();
  }

  #plan(): void {
    const isSimple = this.#ramp === undefined && this.settings.slowCallMs === undefined && !this.#isMonitored;
    this.#isPlain = this.#state === 'closed' && isSimple;
  }

  #times(): OpenTimes {
    this.#openTimes ??= new OpenTimes();
    return this.#openTimes;
  }

  #startedEngine(): CircuitEngine {
    this.#engine ??= new CircuitEngine(this.name, this.settings.clock, () => this.#onDue());
    return this.#engine;
  }

  /** Timers run on their own idea of time, and may ring early. */
  #onDue(): void {
    if (this.#state !== 'open') return;
    const nowMs = this.settings.clock.monotonicMs();
    if (nowMs < this.#openUntilMs) this.#engine?.open(this.#openUntilMs - nowMs);
    else this.#halfOpen();
  }

  #retireEngine(): void {
    if (this.#isMonitored) return;
    this.#engine?.shutdown();
    this.#engine = undefined;
  }

  #tell(event: CircuitEvent): void {
    emit(this.settings.emit, event);
    emit(this.#onChange, this.name);
  }
}
