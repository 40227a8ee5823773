import { UnserializableError } from './codec.js';
import { formatPath, type Step } from './describe.js';

/** The way from the root to where a walk stands, both by depth: the containers, and in which property of each it is. */
export interface WalkedPath {
  readonly depth: number;
  readonly ancestors: readonly object[];
  readonly steps: readonly Step[];
}

/** The error for a container that holds itself, if one on the way does. */
export function cycleOn({ depth, ancestors, steps }: WalkedPath): UnserializableError | undefined {
  const firstDepths = new Map<object, number>();
  for (let at = 1; at <= depth; at++) {
    const container = ancestors[at] as object;
    const firstDepth = firstDepths.get(container);
    if (firstDepth !== undefined) {
      const target = formatPath(steps, firstDepth - 1);
      const problem = `points back to ${target}. Break the cycle, for example by keeping an id instead of the object.`;
      return new UnserializableError(formatPath(steps, at - 1), problem);
    }
    firstDepths.set(container, at);
  }
  return undefined;
}
