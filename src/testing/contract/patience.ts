import { systemClock } from '../../base/clock.js';
import { answerWithin } from '../../storage/answer-within.js';

/** How often a condition is looked at while it is waited for. */
const LOOK_EVERY_MS = 2;
/** How long a server may go on with what a client had asked for that is gone. */
const SETTLES_WITHIN_MS = 1_000;

/** Fails if `promise` has not settled after `ms`, and says what was waited for. */
export function within<Result>(ms: number, what: string, promise: Promise<Result>): Promise<Result> {
  return answerWithin({ clock: systemClock, ms, late: () => new Error(`${what} took more than ${ms} ms.`) }, promise);
}

/** Resolves once `isTrue`; fails if that does not come about within `ms`. */
export async function until(ms: number, what: string, isTrue: () => boolean | Promise<boolean>): Promise<void> {
  const startedAtMs = systemClock.monotonicMs();
  while (!(await isTrue())) {
    if (systemClock.monotonicMs() - startedAtMs > ms) throw new Error(`${what}: not within ${ms} ms.`);
    await systemClock.sleep(LOOK_EVERY_MS);
  }
}

/** What is wrong once no server is busy any more with what a client asked for that is gone: what stays wrong. */
export async function stillWrong(look: () => Promise<readonly string[]>): Promise<readonly string[]> {
  const startedAtMs = systemClock.monotonicMs();
  for (;;) {
    const wrong = await look();
    if (wrong.length === 0 || systemClock.monotonicMs() - startedAtMs > SETTLES_WITHIN_MS) return wrong;
    await systemClock.sleep(10 * LOOK_EVERY_MS);
  }
}

/** A turn of the event loop: timers fire, messages arrive. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
