import { types } from 'node:util';

/** One step of a path: an array index, a property name, or none while the container itself is meant. */
export type Step = string | number | undefined;

const IDENTIFIER = /^[A-Za-z_$][\w$]*$/;

/** The first `depth` steps below the root, as one would write them in code: `$.steps[3]["a b"]`. */
export function formatPath(steps: readonly Step[], depth: number): string {
  let path = '$';
  for (const step of steps.slice(1, depth + 1)) {
    if (typeof step === 'number') path += `[${step}]`;
    else if (step !== undefined) path += IDENTIFIER.test(step) ? `.${step}` : `[${JSON.stringify(step)}]`;
  }
  return path;
}

/** What is wrong with an object that no rule covers, and what to do about it. */
export function describeObject(value: object, prototype: object | null): string {
  if (types.isBoxedPrimitive(value)) return 'is a boxed primitive. Keep the primitive itself, by `.valueOf()`.';
  if (types.isSharedArrayBuffer(value))
    return 'is shared memory, which would come back unshared. Keep a copy of the bytes.';
  if (types.isPromise(value)) return 'is a Promise. Await it and keep the result.';
  return `is an instance of ${className(prototype)}. Register a codec for it, or turn it into plain values first.`;
}

/** Read from descriptors, because `value.constructor.name` could run the host's code. */
function className(prototype: object | null): string {
  if (prototype === null || types.isProxy(prototype)) return 'an unknown class';
  const creator: unknown = Object.getOwnPropertyDescriptor(prototype, 'constructor')?.value;
  if (typeof creator !== 'function' || types.isProxy(creator)) return 'an unknown class';
  const name: unknown = Object.getOwnPropertyDescriptor(creator, 'name')?.value;
  return typeof name === 'string' && name !== '' ? name : 'an unnamed class';
}

/** What is wrong with containers that JSON would change without a word. */
export const HOLE = 'is a hole in a sparse array. Fill it, for example with null.';
export const SYMBOL_KEY = 'has a symbol as a key. Use a string key.';
export const NAMED_PROPERTIES = 'is an array with named properties. Keep them in an object beside the items.';
