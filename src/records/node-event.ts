/** What happened to this process's node. `node` is the id of a tenure, `error` one line for people. */
export type NodeEvent =
  | { readonly type: 'node.joined'; readonly node: string }
  /** A heartbeat could not be confirmed. It is tried again soon, for as long as the tenure lasts. */
  | { readonly type: 'node.heartbeat-failed'; readonly node: string; readonly error: string }
  /** The tenure is over: somebody declared it dead, or it could not be confirmed in time. */
  | { readonly type: 'node.lost'; readonly node: string; readonly error: string }
  /** Its heart thread threw, and has ended with that. */
  | { readonly type: 'node.heart-failed'; readonly error: string }
  | { readonly type: 'node.left'; readonly node: string };
