/** Who listens to which signal. The event listener is one, however many runs there are under a signal. */
const listenersOf = new WeakMap<EventTarget, Set<() => void>>();

/**
 * Calls `act` when `signal`, which has not aborted yet, does. Returns how to stop listening; nothing stays behind.
 * A fleet of a hundred runs under one signal would otherwise print MaxListenersExceededWarning.
 */
export function onSignalAbort(signal: AbortSignal, act: () => void): () => void {
  let listeners = listenersOf.get(signal);
  if (listeners === undefined) {
    listeners = new Set();
    listenersOf.set(signal, listeners);
    signal.addEventListener('abort', tellAll);
  }
  const listener = () => act(); // One of its own, because the same `act` may listen twice.
  listeners.add(listener);
  return () => {
    if (!listeners.delete(listener) || listeners.size > 0) return;
    signal.removeEventListener('abort', tellAll);
    listenersOf.delete(signal);
  };
}

function tellAll(this: AbortSignal): void {
  for (const listener of [...(listenersOf.get(this) as Set<() => void>)]) listener(); // Listened to only while there.
}
