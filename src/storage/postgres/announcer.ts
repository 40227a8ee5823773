import type { BatchOperation } from '../adapter.js';
import { backOffMs } from './back-off.js';
import { type Connections, failureOf } from './connections.js';
import { rowsOf } from './postgres-pool.js';

/** Between the keys of one notification: no key has it. */
const SEPARATOR = ' ';
/** In place of keys: look at everything. */
const EVERYTHING = '*';

/** The server takes notifications of less than 8,000 bytes. */
const MAX_PAYLOAD = 7_900;
/** Keys that wait at most. Beyond them one notification about everything says as much. */
const MAX_WAITING = 5_000;

/**
 * The commit of a notification takes a lock that the whole server shares. It is not made to wait for a disk: a notification
 * that is lost with the server is no loss, since whoever listened has lost the connection too.
 */
const NOTIFY = `SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, payload) FROM unnest($2::text[]) AS payload`;

/** Tells whoever listens which keys changed: behind the writes, in a statement of its own, so that no write waits for it. */
export class Announcer {
  readonly #connections: Connections;
  readonly #channel: string;
  readonly #timeoutMs: number;
  #waiting = new Set<string>();
  #run: Promise<void> | undefined;

  constructor(connections: Connections, channel: string, timeoutMs: number) {
    this.#connections = connections;
    this.#channel = channel;
    this.#timeoutMs = timeoutMs;
  }

  announce(operations: readonly BatchOperation[]): void {
    for (const { type, key } of operations) if (type !== 'check') this.#waiting.add(key);
    if (this.#waiting.size > MAX_WAITING) this.#waiting = new Set([EVERYTHING]);
    this.#run ??= this.#announceAll().finally(() => {
      this.#run = undefined;
    });
  }

  /** Resolves when all that was announced so far was sent, or given up. */
  async settled(): Promise<void> {
    await this.#run;
  }

  async #announceAll(): Promise<void> {
    const { clock } = this.#connections;
    const giveUpMs = clock.monotonicMs() + this.#timeoutMs;
    for (let tries = 1; this.#waiting.size > 0; tries++) {
      const keys = [...this.#waiting];
      this.#waiting.clear();
      try {
        await this.#connections.run(this.#timeoutMs, (client) =>
          rowsOf(client, NOTIFY, [this.#channel, payloadsOf(keys)]),
        );
      } catch (error) {
        failureOf(error);
        if (clock.monotonicMs() >= giveUpMs) return; // Hints: whoever must know looks.
        for (const key of keys) this.#waiting.add(key);
        await clock.sleep(backOffMs(tries), { unref: true });
      }
    }
  }
}

/** As few notifications as hold all keys. */
function payloadsOf(keys: readonly string[]): string[] {
  const payloads: string[] = [];
  for (const key of keys) {
    const last = payloads.at(-1);
    if (last === undefined || last.length + key.length >= MAX_PAYLOAD) payloads.push(key);
    else payloads[payloads.length - 1] = last + SEPARATOR + key;
  }
  return payloads;
}

/** The keys of a notification; `undefined` if it is about everything. */
export function keysAnnounced(payload: string | undefined): readonly string[] | undefined {
  return payload === undefined || payload === EVERYTHING ? undefined : payload.split(SEPARATOR);
}
