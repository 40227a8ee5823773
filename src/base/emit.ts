/**
 * Where a part reports what happened. Events are past facts, emitted after the fact is durable, flat and JSON-safe.
 * A sink that throws cannot fail the call that reported: the error is handed to the process as a warning.
 */
export type Sink<Event> = (event: Event) => void;

/** Report `event`, shielding the caller from a listener that throws. Costs nothing when nobody listens. */
export function emit<Event>(sink: Sink<Event> | undefined, event: Event): void {
  if (sink === undefined) return;
  try {
    sink(event);
  } catch (error) {
    const { message, stack } = error instanceof Error ? error : new Error(String(error));
    process.emitWarning(`An event listener threw: ${message}`, {
      code: 'HOLDFAST_LISTENER_ERROR',
      detail: String(stack),
    });
  }
}
