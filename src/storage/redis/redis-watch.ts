import { warnOfThrown } from '../../base/emit.js';
import { StorageError } from '../adapter.js';
import { answerWithin } from '../answer-within.js';
import type { RedisConnection, RedisListener, RedisSubscription } from './redis-connection.js';
import { redisFault } from './redis-fault.js';
import type { RedisStore } from './redis-store.js';

interface Watcher {
  readonly prefix: string;
  readonly onChange: (key: string) => void;
}

/**
 * Tells who watches a prefix of changes under it, over one further connection that is there while someone watches. After
 * a lost connection nobody knows what was missed: each watcher is then called with its own prefix, and looks.
 */
export class RedisWatch {
  readonly #connection: RedisConnection;
  readonly #channel: string;
  readonly #watchers = new Set<Watcher>();
  #subscription: RedisSubscription | undefined;

  constructor(connection: RedisConnection, channel: string) {
    this.#connection = connection;
    this.#channel = channel;
  }

  /** Resolves once changes are heard of, to what ends that. */
  async watch(store: RedisStore, prefix: string, onChange: (key: string) => void): Promise<() => Promise<void>> {
    const watcher: Watcher = { prefix, onChange };
    this.#watchers.add(watcher);
    try {
      await this.#listen(store);
    } catch (error) {
      this.#forget(watcher);
      throw error;
    }
    return async () => this.#forget(watcher);
  }

  close(): void {
    this.#watchers.clear();
    this.#subscription?.close();
    this.#subscription = undefined;
  }

  async #listen({ server, place }: RedisStore): Promise<void> {
    this.#subscription ??= this.#connection.subscribe(this.#channel, this.#listener());
    const subscription = this.#subscription;
    const late = () =>
      new StorageError(`The server of ${server.store} took no subscription within ${place.timeoutMs} ms.`);
    try {
      await answerWithin({ clock: server.clock, ms: place.timeoutMs, late }, subscription.ready);
    } catch (thrown) {
      if (this.#subscription === subscription) this.#subscription = undefined;
      subscription.close();
      throw thrown instanceof StorageError ? thrown : redisFault(server.store, thrown).error;
    }
  }

  #listener(): RedisListener {
    return {
      onMessage: (payload) => {
        const keys = payload.toString().split('\n');
        for (const watcher of this.#watchers) {
          for (const key of keys) if (key !== '' && key.startsWith(watcher.prefix)) call(watcher, key);
        }
      },
      onReconnected: () => {
        for (const watcher of this.#watchers) call(watcher, watcher.prefix);
      },
    };
  }

  #forget(watcher: Watcher): void {
    this.#watchers.delete(watcher);
    if (this.#watchers.size === 0) this.close();
  }
}

/** A watcher that throws ends neither the connection nor the others. */
function call({ onChange }: Watcher, key: string): void {
  try {
    onChange(key);
  } catch (error) {
    warnOfThrown('A watcher', error);
  }
}
