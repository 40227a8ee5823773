/** What happened to this process's node. `node` is the id of a tenure, `error` one line for people. */
export type NodeEvent =
  | { readonly type: 'node.joined'; readonly node: string }
  /** A heartbeat could not be confirmed. It is tried again soon, for as long as the tenure lasts. */
  | { readonly type: 'node.heartbeat-failed'; readonly node: string; readonly error: string }
  /** The tenure is over: somebody declared it dead, or it could not be confirmed in time. */
  | { readonly type: 'node.lost'; readonly node: string; readonly error: string }
  /** Its heart thread has ended, and why. The event loop beats instead. */
  | { readonly type: 'node.heart-ended'; readonly error: string }
  | { readonly type: 'node.left'; readonly node: string };
