import { type Clock, startTimer } from '../base/clock.js';
import type { ClosedError } from '../base/errors.js';
import { unlessEnded } from './unless-ended.js';

/** Whether something was closed, for those who look and wait in its name: they are told at once. */
export class Closing {
  readonly #listeners = new Set<(error: ClosedError) => void>();
  #error: ClosedError | undefined;

  /** Defined once it is closed. */
  get error(): ClosedError | undefined {
    return this.#error;
  }

  close(error: ClosedError): void {
    this.#error = error;
    for (const listener of this.#listeners) listener(error);
    this.#listeners.clear();
  }

  /** @throws ClosedError after `close` */
  requireOpen(): void {
    if (this.#error !== undefined) throw this.#error;
  }

  /** What `work` gives. For reads, which may be left alone. @throws ClosedError at `close`, though the work goes on. */
  async unlessClosed<Answer>(work: () => Promise<Answer>): Promise<Answer> {
    this.requireOpen();
    return await unlessEnded(work, (end) => this.#onClose(end));
  }

  /** @throws ClosedError at `close` */
  async pause(clock: Clock, ms: number): Promise<void> {
    let wake = () => {};
    const over = new Promise<void>((resolve) => {
      wake = resolve;
    });
    const timer = startTimer(clock, ms, wake);
    try {
      await this.unlessClosed(() => over);
    } finally {
      timer.cancel();
    }
  }

  #onClose(listener: (error: ClosedError) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
