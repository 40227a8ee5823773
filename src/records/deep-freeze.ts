import { types } from 'node:util';
import { isArrayPrototype, isObjectPrototype } from './json-object.js';

/** Frozen through and through already. That is for ever, so a state that is built upon another costs what is new in it. */
const frozenThrough = new WeakSet<object>();

/**
 * Freezes plain objects and arrays in place, and all that is in them; returns `value` itself, typed as it was. A save
 * passes over parts that can never change, so give it states of which each is built from parts of the one before:
 *
 * ```ts
 * state = deepFreeze({ ...state, messages: [...state.messages, message] });
 * await checkpoints.save('research-42', state);
 * ```
 *
 * Anything else in there (Date, Map, typed arrays, instances of classes) can still be changed when its holder is frozen,
 * so it is left as it is, like what a getter would give: no getter is called. A state with such parts is kept just as
 * well, only they and what holds them are looked into by every save. What is frozen already is looked into as well: its
 * parts may not be. Any depth and cycles are fine.
 */
export function deepFreeze<Value>(value: Value): Value {
  const met = new Set<object>();
  meet(met, value);
  for (const container of met) {
    Object.freeze(container);
    for (const key of Reflect.ownKeys(container)) meet(met, Object.getOwnPropertyDescriptor(container, key)?.value);
  }
  for (const container of met) frozenThrough.add(container);
  return value;
}

/** A set goes on to what is added to it while it is walked. */
function meet(met: Set<object>, value: unknown): void {
  if (typeof value === 'object' && value !== null && !frozenThrough.has(value) && isPlain(value)) met.add(value);
}

function isPlain(value: object): boolean {
  if (types.isProxy(value) || types.isModuleNamespaceObject(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (Array.isArray(value)) return isArrayPrototype(prototype as object | null);
  return prototype === null || (isObjectPrototype(prototype as object) && !ArrayBuffer.isView(value));
}
