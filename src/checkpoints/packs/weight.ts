import type { JsonObject } from '../../records/json-object.js';
import { FixedValue } from './chunk-part.js';

/** What is no heavier than this stays in one piece. */
export const WHOLE_WEIGHT = 4 * 1024;

/**
 * What is left of `room` after a value of this weight, which is about its characters: below 0, it has no room. Looks no
 * further than that, and is the same for a value and for what is remembered of it.
 */
export function roomAfter(value: unknown, room: number): number {
  if (typeof value === 'string') return room - value.length - 3;
  if (typeof value !== 'object' || value === null) return room - 6;
  if (value instanceof FixedValue) return room - value.weight;
  let left = room - 2;
  if (Array.isArray(value)) {
    for (let at = 0; at < value.length && left >= 0; at++) left = roomAfter(value[at], left);
    return left;
  }
  for (const key in value) {
    if (left < 0) return left;
    left = roomAfter((value as JsonObject)[key], left - key.length - 4);
  }
  return left;
}
