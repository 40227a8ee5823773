import * as z from 'zod';
import type { Clock } from '../base/clock.js';
import { emit, type Sink } from '../base/emit.js';
import { functionOption, parseOptions } from '../base/options.js';
import { inWords } from '../policies/in-words.js';
import type { CheckpointEvent, CheckpointInfo } from './checkpoint.js';

/** How often a session saves itself, and what happens when it cannot. */
export interface AutoSaveOptions {
  /** Milliseconds between saves, by a clock that never jumps. At least 1. It is about what a crash may cost. */
  readonly everyMs: number;
  /**
   * How much each wait differs: it is `everyMs * (1 ± jitter)`, 0 to 1. Default 0.1, so that processes that were
   * started together do not save together for ever. 0: always exactly `everyMs`.
   */
  readonly jitter?: number;
  /** Draws jitter: uniform over [0, 1). Default `Math.random`. */
  readonly random?: () => number;
  /**
   * Hears why a save failed that nobody waits for, beside the event. The next one tries again. What it throws itself
   * becomes a warning of the process.
   */
  readonly onError?: (error: unknown) => void;
  /**
   * Save before the process ends by SIGTERM. Default false. Told twice, it ends without waiting for the save. For
   * programs that do not listen to SIGTERM themselves: one that does should call `stop` there; it alone decides then
   * how the process ends, and whether a save under way is waited for.
   */
  readonly flushOnSigterm?: boolean;
  /** Ends the saving when it aborts, without a last save: whoever aborts may have lost the right to save. */
  readonly signal?: AbortSignal;
}

const autoSaveSchema = z.strictObject({
  everyMs: z.number().min(1),
  jitter: z.number().min(0).max(1).optional(),
  random: functionOption<() => number>().optional(),
  onError: functionOption<(error: unknown) => void>().optional(),
  flushOnSigterm: z.boolean().optional(),
  signal: z.instanceof(AbortSignal).optional(),
});

type CheckedOptions = z.output<typeof autoSaveSchema>;

/** What is to be saved every now and then, and with what. */
export interface AutoSaveTask<Saved> {
  readonly session: string;
  /** Takes the state before its first await, and saves it; `undefined` if it is what was saved last. May throw. */
  readonly save: () => Promise<Saved | undefined>;
  readonly clock: Clock;
  readonly emit?: Sink<CheckpointEvent> | undefined;
}

/**
 * An auto-save that runs already.
 * @throws InvalidInputError for options that cannot be used; the signal's reason if that is aborted.
 */
export function startAutoSave<Saved>(task: AutoSaveTask<Saved>, options: AutoSaveOptions): AutoSave<Saved> {
  const autoSave = new AutoSave(task, parseOptions(autoSaveSchema, options));
  autoSave.start();
  return autoSave;
}

/**
 * Saves a session's state every so often, if it changed. Saves never overlap: a time that comes while one is under way
 * is left out, and a process that slept for an hour saves once, not sixty times. It does not keep the process alive:
 * one that has nothing more to do ends without a last save unless it awaits `stop`, for which `await using` will do.
 */
export class AutoSave<Saved = CheckpointInfo> implements AsyncDisposable {
  readonly #task: AutoSaveTask<Saved>;
  readonly #options: CheckedOptions;
  /** Ends the ticks. Undefined while none come. */
  #ticks: AbortController | undefined;
  #stopListening: (() => void) | undefined;
  #stopping: Promise<void> | undefined;
  /** Resolves when the save under way has ended, well or not. Undefined only when no other is to follow. */
  #underWay: Promise<void> | undefined;
  /** Begins when the one under way has ended. */
  #next: Promise<Saved | undefined> | undefined;

  constructor(task: AutoSaveTask<Saved>, options: CheckedOptions) {
    this.#task = task;
    this.#options = options;
  }

  /** False after an abort of the signal, and from the call of `stop` on, which may still be saving. */
  get isRunning(): boolean {
    return this.#ticks !== undefined;
  }

  /**
   * Begins again after `stop`; the first save is one wait away. Does nothing while it runs.
   * @throws the signal's reason if that is aborted.
   */
  start(): void {
    if (this.isRunning) return;
    const { signal, flushOnSigterm } = this.#options;
    signal?.throwIfAborted();
    this.#stopping = undefined;
    const ticks = new AbortController();
    this.#ticks = ticks;
    signal?.addEventListener('abort', this.#onAbort);
    if (flushOnSigterm) this.#stopListening = beforeSigterm(() => this.stop().catch(this.#report));
    this.#tick(ticks.signal).catch((error: unknown) => {
      if (ticks.signal.aborted) return;
      this.#endTicks(); // Only a broken clock leads here, and nobody may believe that it still saves.
      this.#report(error);
    });
  }

  /**
   * No more saves of its own; resolves when the state as it is now is saved. Called again before the next `start`, it
   * gives the same promise.
   * @throws what that last save throws: the newest state is not saved then. `saveNow` tries again.
   */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  /** As `stop`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /**
   * Saves what is there now, running or not: at once, or when the save that is under way has ended; all who wait for
   * that share the next. `undefined` if nothing changed, and the last save holds this state.
   * @throws what saving and what taking the state throws.
   */
  saveNow(): Promise<Saved | undefined> {
    if (this.#underWay === undefined) return this.#save();
    this.#next ??= this.#underWay.then(() => {
      this.#next = undefined;
      return this.#save();
    });
    return this.#next;
  }

  /** In an async function a throw of the host's is a rejection, and the state is still taken before this returns. */
  #save(): Promise<Saved | undefined> {
    const saving = (async () => this.#task.save())();
    const end = () => {
      // If another is to follow, it does so at once: nothing may slip in between.
      if (this.#next === undefined) this.#underWay = undefined;
    };
    this.#underWay = saving.then(end, end);
    return saving;
  }

  async #tick(ended: AbortSignal): Promise<void> {
    const { everyMs, jitter = 0.1, random = Math.random } = this.#options;
    for (;;) {
      const waitMs = everyMs * (1 + jitter * (2 * random() - 1));
      await this.#task.clock.sleep(waitMs, { signal: ended, unref: true });
      if (ended.aborted) return; // In the very moment that it woke.
      if (this.#underWay === undefined) this.#save().catch(this.#report);
    }
  }

  async #stop(): Promise<void> {
    const stopListening = this.#stopListening; // Of this run: `start` may be called meanwhile.
    this.#endTicks();
    try {
      await this.saveNow();
    } finally {
      stopListening?.(); // Only now: a SIGTERM meanwhile waits for this save.
    }
  }

  readonly #onAbort = (): void => {
    this.#endTicks();
    this.#stopListening?.();
  };

  #endTicks(): void {
    this.#ticks?.abort();
    this.#ticks = undefined;
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
  }

  readonly #report = (error: unknown): void => {
    const { session, emit: sink } = this.#task;
    emit(sink, { type: 'checkpoint.auto-save-failed', session, error: inWords(error) });
    emit(this.#options.onError, error);
  };
}

type Flush = () => Promise<void>;

/** Of all auto-saves in the process. With a listener each, Node would warn of a leak at the eleventh. */
const flushes = new Set<Flush>();
let isFlushing = false;

/** Calls `flush`, which must not reject, before the process ends by SIGTERM. Returns how to take that back. */
function beforeSigterm(flush: Flush): () => void {
  // First in line: a listener that the host added for one call is gone by the time later ones look.
  if (flushes.size === 0) process.prependListener('SIGTERM', flushThenEnd);
  flushes.add(flush);
  return () => {
    flushes.delete(flush);
    if (flushes.size === 0) process.off('SIGTERM', flushThenEnd);
  };
}

/** Shared by every copy of the package in a process: none may take another for a listener of the host's. */
const ENDS_PROCESS = Symbol.for('holdfast.ends-process');
const endsProcess = (listener: object): boolean => ENDS_PROCESS in listener;

/** Without listeners the signal would have ended the process; with one of the host's, that decides what happens. */
const flushThenEnd = Object.assign(
  async (): Promise<void> => {
    const isUpToUs = process.listeners('SIGTERM').every(endsProcess);
    if (!isFlushing) {
      isFlushing = true;
      await Promise.all([...flushes].map((flush) => flush()));
      isFlushing = false;
    }
    if (!isUpToUs) return;
    process.off('SIGTERM', flushThenEnd);
    const isLast = !process.listeners('SIGTERM').some(endsProcess);
    if (isLast) process.kill(process.pid, 'SIGTERM');
  },
  { [ENDS_PROCESS]: true },
);
