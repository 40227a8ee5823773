import type { StorageAdapter } from './adapter.js';

const inners = new WeakMap<StorageAdapter, StorageAdapter>();

/** The same adapter, known from now on to pass its values to `inner` as they are. */
export function layerOver<Outer extends StorageAdapter>(inner: StorageAdapter, outer: Outer): Outer {
  inners.set(outer, inner);
  return outer;
}

/** The store and those that its values go through below, the outermost first, as far as they are the library's own. */
export function* layersOf(storage: StorageAdapter): Generator<StorageAdapter, undefined> {
  for (let layer: StorageAdapter | undefined = storage; layer !== undefined; layer = inners.get(layer)) yield layer;
}
