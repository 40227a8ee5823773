/** The error to reject with when `signal` has aborted: its own reason, which is what `throwIfAborted` would throw. */
export function abortReason(signal: AbortSignal): unknown {
  return signal.reason;
}
