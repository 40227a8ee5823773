/**
 * Where a part reports what happened. Events are past facts, emitted after the fact is durable, flat and JSON-safe.
 * A sink that throws cannot fail the call that reported: the error is handed to the process as a warning.
 */
export type Sink<Event> = (event: Event) => void;

/** Report `event`, shielding the caller from a listener that throws. Costs nothing when nobody listens. */
export function emit<Event>(sink: Sink<Event> | undefined, event: Event): void {
  if (sink === undefined) return;
  const warn = (error: unknown) => warnOfThrown('An event listener', error);
  try {
    const answer: unknown = sink(event);
    // An async function passes for a sink, and must not end the process either.
    if (typeof answer === 'object' && answer !== null && 'then' in answer) Promise.resolve(answer).catch(warn);
  } catch (error) {
    warn(error);
  }
}

/** Tells the process that a function of the host's, named by `what`, threw. Never throws, whatever that was. */
export function warnOfThrown(what: string, error: unknown): void {
  const code = 'HOLDFAST_LISTENER_ERROR';
  try {
    const { message, stack } = error instanceof Error ? error : new Error(String(error));
    process.emitWarning(`${what} threw: ${message}`, { code, detail: String(stack) });
  } catch {
    process.emitWarning(`${what} threw something that cannot be printed`, { code });
  }
}
