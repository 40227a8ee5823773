import { warnOfThrown } from '../../base/emit.js';
import { keysAnnounced } from './announcer.js';
import { backOffMs } from './back-off.js';
import { CallFailure, type Connections, giveBack, TimeLimit } from './connections.js';
import { type PostgresClient, type PostgresNotification, rowsOf } from './postgres-pool.js';

/** How often a connection that only listens is asked whether it is still there. */
const PING_MS = 30_000;

interface Watcher {
  readonly prefix: string;
  readonly onChange: (key: string) => void;
}

interface Listening {
  /** Resolves when changes are heard from now on; rejects if the first connection fails. */
  readonly begun: Promise<void>;
  readonly stop: AbortController;
  readonly ended: Promise<void>;
}

/**
 * Hears which keys changed, on one connection for all watchers of a store, held only while there are any. A connection that
 * was lost is made again; then every watcher is told to look at its whole prefix, by a call with that prefix.
 */
export class ChangeListener {
  readonly #connections: Connections;
  readonly #channel: string;
  readonly #timeoutMs: number;
  readonly #watchers = new Set<Watcher>();
  #listening: Listening | undefined;

  constructor(connections: Connections, channel: string, timeoutMs: number) {
    this.#connections = connections;
    this.#channel = channel;
    this.#timeoutMs = timeoutMs;
  }

  /** Resolves to a function that ends it. @throws CallFailure if the first connection fails. */
  async watch(prefix: string, onChange: (key: string) => void): Promise<() => Promise<void>> {
    const watcher: Watcher = { prefix, onChange };
    this.#watchers.add(watcher);
    this.#listening ??= this.#listen();
    try {
      await this.#listening.begun;
    } catch (error) {
      await this.#forget(watcher);
      throw error;
    }
    return () => this.#forget(watcher);
  }

  /** Ends all watching. */
  async close(): Promise<void> {
    this.#watchers.clear();
    await this.#stop();
  }

  async #forget(watcher: Watcher): Promise<void> {
    this.#watchers.delete(watcher);
    if (this.#watchers.size === 0) await this.#stop();
  }

  async #stop(): Promise<void> {
    const listening = this.#listening;
    this.#listening = undefined;
    listening?.stop.abort();
    await listening?.ended;
  }

  #listen(): Listening {
    const stop = new AbortController();
    let onBegun = () => {};
    let onFailed = (_error: unknown) => {};
    const begun = new Promise<void>((resolve, reject) => {
      onBegun = resolve;
      onFailed = reject;
    });
    return { begun, stop, ended: this.#listenOn(stop.signal, onBegun).then(onBegun, onFailed) };
  }

  /** One connection after the other, until it is stopped. */
  async #listenOn(stop: AbortSignal, onBegun: () => void): Promise<void> {
    const { clock } = this.#connections;
    let hasBegun = false;
    let tries = 0;
    while (!stop.aborted) {
      try {
        await this.#listenOnce(stop, () => {
          tries = 0;
          if (hasBegun) this.#tellAll();
          hasBegun = true;
          onBegun();
        });
      } catch (error) {
        if (!hasBegun) throw error; // Later failures are tried again: hints are only late by it.
      }
      await clock.sleep(backOffMs(++tries), { signal: stop, unref: true }).catch(() => undefined); // Stopped meanwhile.
    }
  }

  /** Until the connection is lost or it is stopped. */
  async #listenOnce(stop: AbortSignal, onListening: () => void): Promise<void> {
    const client = await this.#connections.checkOut(this.#timeoutMs);
    const end = new AbortController();
    const onEnd = () => end.abort();
    const onNotification = (message: PostgresNotification) => this.#hear(message);
    stop.addEventListener('abort', onEnd, { once: true });
    if (stop.aborted) onEnd(); // While there was no connection yet.
    client.on('error', onEnd);
    client.on('end', onEnd);
    client.on('notification', onNotification);
    try {
      await this.#ask(client, `LISTEN "${this.#channel}"`);
      onListening();
      for (;;) {
        await this.#connections.clock.sleep(PING_MS, { signal: end.signal, unref: true });
        await this.#ask(client, 'SELECT 1');
      }
    } catch (error) {
      if (!end.signal.aborted) throw error;
    } finally {
      stop.removeEventListener('abort', onEnd);
      client.removeListener('notification', onNotification);
      client.removeListener('end', onEnd);
      client.removeListener('error', onEnd);
      giveBack(client, false); // It listens: nobody else should get it.
    }
  }

  async #ask(client: PostgresClient, text: string): Promise<void> {
    const limit = new TimeLimit(this.#connections.clock, this.#timeoutMs);
    try {
      await limit.answer('lost', rowsOf(client, text));
    } catch (error) {
      throw error instanceof CallFailure ? error : new CallFailure('lost', error);
    } finally {
      limit.end();
    }
  }

  #hear({ channel, payload }: PostgresNotification): void {
    if (channel !== this.#channel) return;
    const keys = keysAnnounced(payload);
    if (keys === undefined) this.#tellAll();
    for (const watcher of [...this.#watchers]) {
      for (const key of keys ?? []) if (key.startsWith(watcher.prefix)) tell(watcher, key);
    }
  }

  #tellAll(): void {
    for (const watcher of [...this.#watchers]) tell(watcher, watcher.prefix);
  }
}

function tell({ onChange }: Watcher, key: string): void {
  try {
    onChange(key);
  } catch (error) {
    warnOfThrown('A watcher of the Postgres store', error);
  }
}
