import { readdir } from 'node:fs/promises';
import { fileStorage } from '../../src/storage/log/file-storage.js';
import { leftovers } from './ledger.js';

/** What the lives of `children/increment.mjs` said was acknowledged, of all processes in one store. */
export class Tally {
  readonly #increments = new Map<string, number>();
  /** Each created key with the name of its creator. */
  readonly #created = new Map<string, string>();
  readonly #bad: string[] = [];

  add(name: string, lines: readonly string[]): void {
    for (const line of lines) {
      const [kind, key = ''] = line.split(' ');
      if (kind === 'incremented') this.#increments.set(key, this.increments(key) + 1);
      if (kind !== 'created') continue;
      const other = this.#created.get(key);
      if (other !== undefined) this.#bad.push(`${name} and ${other} both created "${key}"`);
      this.#created.set(key, name);
    }
  }

  increments(key: string): number {
    return this.#increments.get(key) ?? 0;
  }

  get acknowledged(): number {
    return this.#created.size + [...this.#increments.values()].reduce((sum, count) => sum + count, 0);
  }

  /** Names all that is not as acknowledged. Each of `kills` may have done one more increment than was said. */
  async judge(folder: string, kills: number): Promise<string[]> {
    const storage = fileStorage(folder);
    const bad = [...this.#bad];
    let unsaid = 0;
    for (const [key, count] of this.#increments) {
      const found = Number.parseInt(Buffer.from((await storage.get(key))?.value ?? []).toString(), 10);
      if (!(found >= count)) bad.push(`"${key}" is ${found} after ${count} acknowledged increments`);
      unsaid += found - count;
    }
    if (unsaid > kills) bad.push(`${unsaid} increments happened that were not acknowledged`);
    for (const [key, name] of this.#created) {
      const found = Buffer.from((await storage.get(key))?.value ?? []).toString();
      if (found !== name) bad.push(`"${key}" was created by ${name} and holds "${found}"`);
    }
    await storage.close();
    return [...bad, ...(await leftovers(folder))];
  }
}

/** How often the store in `folder` has moved to a new segment. */
export async function compactionsOf(folder: string): Promise<number> {
  const names = await readdir(folder);
  return Math.max(...names.map((name) => Number(/^log-(\d+)$/.exec(name)?.[1] ?? 1))) - 1;
}
