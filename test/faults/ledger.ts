import { readdir } from 'node:fs/promises';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { fileStorage } from '../../src/storage/log/file-storage.js';

/** Checkpoints that the pruning of `children/save-loop.mjs` always leaves. */
const KEPT = 3;

/** What `children/save-loop.mjs` said was acknowledged, over any number of its lives in one store. */
export class Ledger {
  readonly #checksums = new Map<number, string>();
  readonly #puts = new Map<string, { count: number; length: number }>();
  readonly #pruned = new Set<number>();
  #newest = 0;

  add(lines: readonly string[]): void {
    for (const line of lines) {
      const [kind, name = '', number, proof = ''] = line.split(' ');
      if (kind === 'put') this.#puts.set(name, { count: Number(number), length: Number(proof) });
      if (kind === 'pruned') this.#pruned.add(Number(name));
      if (kind !== 'acked') continue;
      this.#checksums.set(Number(number), proof);
      this.#newest = Math.max(this.#newest, Number(number));
    }
  }

  get acknowledged(): number {
    return this.#newest + [...this.#puts.values()].reduce((sum, { count }) => sum + count, 0);
  }

  /** Opens the store that a child has left and names all that is not as it was acknowledged. */
  async judge(folder: string): Promise<string[]> {
    const bad: string[] = [];
    const storage = fileStorage(folder, {
      emit: ({ type }) => {
        if (type === 'storage.damaged') bad.push('the store calls itself damaged');
      },
    });
    bad.push(...(await this.#judgeCheckpoints(storage)), ...(await this.#judgePuts(storage)));
    await storage.close();
    return [...bad, ...(await leftovers(folder))];
  }

  async #judgeCheckpoints(storage: StorageAdapter): Promise<string[]> {
    const checkpoints = new CheckpointManager({ storage });
    const restored = await checkpoints.restore('loop');
    if (restored === undefined)
      return this.#newest === 0 ? [] : [`nothing is restored, ${this.#newest} was acknowledged`];
    const bad: string[] = [];
    const { degraded, checkpoint } = restored;
    if (degraded) bad.push('restored, but degraded');
    if (checkpoint.sequence < this.#newest)
      bad.push(`${checkpoint.sequence} is restored, ${this.#newest} was acknowledged`);
    const listed = new Map<number, string>();
    for await (const { sequence, checksum } of checkpoints.list('loop')) listed.set(sequence, checksum);
    for (const [sequence, checksum] of this.#checksums) {
      const found = listed.get(sequence);
      const isPruned = found === undefined && sequence <= checkpoint.sequence - KEPT;
      if (!isPruned && found !== checksum)
        bad.push(`checkpoint ${sequence} was acknowledged and is ${found ?? 'lost'}`);
    }
    for (const sequence of listed.keys())
      if (this.#pruned.has(sequence)) bad.push(`${sequence} was pruned and is back`);
    const report = await checkpoints.verify('loop', { depth: 'deep' });
    if (!report.isIntact)
      bad.push(`verify finds damage: ${report.damaged.map(({ error }) => error.message).join(' ')}`);
    return bad;
  }

  async #judgePuts(storage: StorageAdapter): Promise<string[]> {
    const bad: string[] = [];
    for (const [key, { count, length }] of this.#puts) {
      const value = (await storage.get(key))?.value;
      const text = Buffer.from(value ?? []).toString();
      const found = Number.parseInt(text, 10);
      // One more may have been written than was said: the kill came between.
      const isRight = (found === count && text.length === length) || found === count + 1;
      if (isRight) this.#puts.set(key, { count: found, length: text.length });
      if (!isRight)
        bad.push(`"${key}" is ${found} with ${text.length} bytes, ${count} with ${length} was acknowledged`);
    }
    return bad;
  }
}

/** Index files that processes which close at the same moment may each leave, until the next one is written. */
const MOST_INDEXES = 8;

/** Files in `folder` that nobody uses, now that every process has closed its store there or was killed. */
export async function leftovers(folder: string): Promise<string[]> {
  const names = await readdir(folder);
  const unknown = names.filter((name) => !/^(FORMAT\.json|log-\d{8}|index-\d{8}-\d{15})$/.test(name));
  const bad = unknown.map((name) => `${name} is left over`);
  const segments = names.filter((name) => name.startsWith('log-')).length;
  const indexes = names.filter((name) => name.startsWith('index-')).length;
  // The segment before the newest stays for those who still read it.
  if (segments > 2) bad.push(`${segments} segments are left`);
  if (indexes > MOST_INDEXES) bad.push(`${indexes} index files are left`);
  return bad;
}
