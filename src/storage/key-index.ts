/** One page of an index: keys in order with what is kept for each. `more` says whether keys follow behind it. */
interface IndexPage<Entry> {
  readonly found: readonly (readonly [key: string, entry: Entry])[];
  readonly more: boolean;
}

/** A run of neighbouring keys with their entries, both in key order. */
interface Leaf<Entry> {
  readonly keys: string[];
  readonly entries: Entry[];
}

/** Keys per leaf at most. Inserting moves at most this many; finding a leaf halves the number of leaves each step. */
const LEAF_KEYS = 512;

/**
 * A sorted map from key to entry, as a two-level list of leaves: finding, inserting and paging stay in microseconds
 * with a million keys, without a second copy of the keys. Keys are ASCII, so string order is the byte order of UTF-8.
 */
export class KeyIndex<Entry> {
  #leaves: Leaf<Entry>[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(key: string): Entry | undefined {
    const leaf = this.#leaves[this.#leafFor(key)];
    if (leaf === undefined) return undefined;
    const at = lowerBound(leaf.keys, key);
    return leaf.keys[at] === key ? leaf.entries[at] : undefined;
  }

  set(key: string, entry: Entry): void {
    const leafAt = this.#leafFor(key);
    const leaf = this.#leaves[leafAt];
    if (leaf === undefined) {
      this.#leaves.push({ keys: [key], entries: [entry] });
      this.#size = 1;
      return;
    }
    const at = lowerBound(leaf.keys, key);
    if (leaf.keys[at] === key) {
      leaf.entries[at] = entry;
      return;
    }
    leaf.keys.splice(at, 0, key);
    leaf.entries.splice(at, 0, entry);
    this.#size++;
    if (leaf.keys.length > LEAF_KEYS) this.#split(leafAt, leaf, at);
  }

  delete(key: string): boolean {
    const leafAt = this.#leafFor(key);
    const leaf = this.#leaves[leafAt];
    if (leaf === undefined) return false;
    const at = lowerBound(leaf.keys, key);
    if (leaf.keys[at] !== key) return false;
    leaf.keys.splice(at, 1);
    leaf.entries.splice(at, 1);
    if (leaf.keys.length === 0) this.#leaves.splice(leafAt, 1);
    this.#size--;
    return true;
  }

  /** All entries in key order. The index must not change while this runs. */
  *[Symbol.iterator](): IterableIterator<readonly [key: string, entry: Entry]> {
    for (const { keys, entries } of this.#leaves) {
      for (let at = 0; at < keys.length; at++) yield [keys[at] as string, entries[at] as Entry];
    }
  }

  /** Up to `limit` keys that begin with `prefix` and stand behind `after`, ascending or descending. */
  page(prefix: string, limit: number, after?: string, reverse = false): IndexPage<Entry> {
    const found: (readonly [string, Entry])[] = [];
    let { leafAt, at } = reverse ? this.#lastWithin(prefix, after) : this.#firstWithin(prefix, after);
    for (;;) {
      const leaf = this.#leaves[leafAt];
      if (leaf === undefined) return { found, more: false };
      for (; reverse ? at >= 0 : at < leaf.keys.length; at += reverse ? -1 : 1) {
        const key = leaf.keys[at] as string;
        if (!key.startsWith(prefix)) return { found, more: false };
        if (found.length === limit) return { found, more: true };
        found.push([key, leaf.entries[at] as Entry]);
      }
      leafAt += reverse ? -1 : 1;
      at = reverse ? (this.#leaves[leafAt]?.keys.length ?? 0) - 1 : 0;
    }
  }

  /** Where an ascending page begins: at the first key of the prefix, or right behind `after` if that is further on. */
  #firstWithin(prefix: string, after: string | undefined): { leafAt: number; at: number } {
    const start = after !== undefined && after >= prefix ? after : prefix;
    const leafAt = this.#leafFor(start);
    const keys = this.#leaves[leafAt]?.keys ?? [];
    const at = lowerBound(keys, start);
    return { leafAt, at: keys[at] === after ? at + 1 : at };
  }

  /** Where a descending page begins: at the last key of the prefix, or right before `after` if that comes earlier. */
  #lastWithin(prefix: string, after: string | undefined): { leafAt: number; at: number } {
    // Behind every key of the prefix: keys are ASCII, so nothing of theirs sorts after this character.
    const behind = `${prefix}\uffff`;
    const end = after !== undefined && after < behind ? after : behind;
    const leafAt = this.#leafFor(end);
    return { leafAt, at: lowerBound(this.#leaves[leafAt]?.keys ?? [], end) - 1 };
  }

  /** The leaf that holds `key` or would: the last one whose first key is not greater. */
  #leafFor(key: string): number {
    let low = 0;
    let high = this.#leaves.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((this.#leaves[middle]?.keys[0] as string) <= key) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #split(leafAt: number, leaf: Leaf<Entry>, insertedAt: number): void {
    // Keys that only ever grow (sequence numbers) leave full leaves behind instead of half-empty ones.
    const appended = insertedAt === leaf.keys.length - 1 && leafAt === this.#leaves.length - 1;
    const keep = appended ? LEAF_KEYS : LEAF_KEYS >>> 1;
    this.#leaves.splice(leafAt + 1, 0, { keys: leaf.keys.splice(keep), entries: leaf.entries.splice(keep) });
  }
}

/** Index of the first key that is not less than `key`. */
function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((keys[middle] as string) < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
