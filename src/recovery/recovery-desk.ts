import { encodeId } from '../records/keys.js';
import type { TransactionManager } from '../transactions/transaction-manager.js';
import type { RecoveryFilter } from './recovery-options.js';
import { type RecoveryRecord, recordOf } from './recovery-record.js';
import type { Resolutions } from './resolutions.js';

/** Where recoveries are looked up. Their transactions are all there is of them, but for what people decided. */
export class RecoveryDesk {
  readonly #transactions: TransactionManager;
  readonly #resolutions: Resolutions;
  readonly #name: string;

  constructor(transactions: TransactionManager, resolutions: Resolutions, name: string) {
    this.#transactions = transactions;
    this.#resolutions = resolutions;
    this.#name = name;
  }

  /** Every recovery of a subject has an id that any process finds. */
  idOf(subject: string, number: number): string {
    return `${this.#prefixOf(subject)}${number}`;
  }

  async get(id: string): Promise<RecoveryRecord | undefined> {
    const view = await this.#transactions.get(id);
    if (view === undefined || view.name !== this.#name) return undefined;
    const record = recordOf(view);
    const mayBeResolved = record.outcome === 'needs-attention' || record.outcome === 'suppressed';
    return mayBeResolved ? recordOf(view, await this.#resolutions.get(id)) : record;
  }

  /** Newest first, by their labels. Throws what cannot be read after all others. */
  async *list({ subject, outcome, limit = Number.POSITIVE_INFINITY }: RecoveryFilter): AsyncGenerator<RecoveryRecord> {
    const prefix = subject === undefined ? {} : { prefix: this.#prefixOf(subject) };
    const { ids, unreadable } = await this.#newestFirst(prefix);
    let given = 0;
    for (const id of ids) {
      if (given >= limit) return;
      const record = await this.get(id);
      if (record === undefined || (outcome !== undefined && record.outcome !== outcome)) continue;
      given++;
      yield record;
    }
    if (unreadable !== undefined) throw unreadable.error;
  }

  async #newestFirst(filter: { readonly prefix?: string }): Promise<Listed> {
    const found: { readonly id: string; readonly startedAtMs: number }[] = [];
    let unreadable: Listed['unreadable'];
    try {
      for await (const { id, startedAtMs } of this.#transactions.list({ name: this.#name, ...filter }))
        found.push({ id, startedAtMs });
    } catch (error) {
      unreadable = { error };
    }
    found.sort((one, other) => other.startedAtMs - one.startedAtMs || numberOf(other.id) - numberOf(one.id));
    return { ids: found.map(({ id }) => id), unreadable };
  }

  #prefixOf(subject: string): string {
    return `${this.#name}/${encodeId(subject, 'failure.subject')}/`;
  }
}

interface Listed {
  readonly ids: readonly string[];
  readonly unreadable: { readonly error: unknown } | undefined;
}

function numberOf(id: string): number {
  return Number(id.slice(id.lastIndexOf('/') + 1));
}
