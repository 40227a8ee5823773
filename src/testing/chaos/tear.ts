import type { BatchOperation } from '../../storage/adapter.js';
import type { SeededRandom } from '../seeded-random.js';

/** True if there is a byte that could be damaged. */
export function isTearable(operations: readonly BatchOperation[]): boolean {
  return operations.some(hasBytes);
}

/** The same operations, but one of the values is cut short or has one bit flipped. */
export function tear(operations: readonly BatchOperation[], dice: SeededRandom): readonly BatchOperation[] {
  const torn = dice.pick(operations.filter(hasBytes));
  return operations.map((one) => (one === torn ? { ...torn, value: tornValue(torn.value, dice) } : one));
}

function hasBytes(operation: BatchOperation): operation is BatchOperation & { type: 'put' } {
  return operation.type === 'put' && operation.value.length > 0;
}

function tornValue(value: Uint8Array, dice: SeededRandom): Uint8Array {
  const at = dice.integer(value.length);
  if (dice.chance(0.5)) return value.slice(0, at);
  const flipped = new Uint8Array(value);
  flipped[at] = (flipped[at] as number) ^ (1 << dice.integer(8));
  return flipped;
}
