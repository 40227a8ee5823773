import { StandIn } from './copy-taker.js';
import type { JsonObject } from './json-object.js';

/** Of an array or object without what is in it. */
export const CONTAINER_WEIGHT = 2;

/** What is no container weighs about its characters. */
export function weightOfLeaf(value: unknown): number {
  return typeof value === 'string' ? value.length + 3 : 6;
}

export function weightOfKey(key: string): number {
  return key.length + 4;
}

/**
 * What is left of `room` after plain JSON of this weight: below 0, it has no room. Looks no further than that, and is the
 * same for a value and for what stands for it.
 */
export function roomAfter(value: unknown, room: number): number {
  if (typeof value !== 'object' || value === null) return room - weightOfLeaf(value);
  if (value instanceof StandIn) return room - value.weight;
  let left = room - CONTAINER_WEIGHT;
  if (Array.isArray(value)) {
    for (let at = 0; at < value.length && left >= 0; at++) left = roomAfter(value[at], left);
    return left;
  }
  for (const key in value) {
    if (left < 0) return left;
    left = roomAfter((value as JsonObject)[key], left - weightOfKey(key));
  }
  return left;
}
