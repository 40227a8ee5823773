import { randomBytes } from 'node:crypto';
import { CorruptionError } from '../../base/errors.js';
import { type StorageCapabilities, StorageError } from '../adapter.js';
import { readPromises, requireKeeping } from './redis-promises.js';
import { FORMAT, GET, layoutOf, OPEN, type RedisLayout, type RedisScript, VERSION_BYTES } from './redis-scripts.js';
import type { RedisAnswer, RedisPatience, RedisServer } from './redis-server.js';
import { ServerTime } from './server-time.js';

/** Where a store is and how long its server may take. */
export interface RedisPlace {
  readonly prefix: string;
  readonly timeoutMs: number;
  readonly allowEviction: boolean;
}

/** A store that was opened: which one it is, and what its server said of itself. */
export class RedisStore {
  readonly durability: StorageCapabilities['durability'];
  /** The server's time, as told by the answers to writes. */
  readonly time = new ServerTime();
  /** Where its keys are. */
  readonly layout: RedisLayout;
  /** Highest count of a version known here: the server may lose its last writes, and must not count them again. */
  count: number;
  /** Made at random with the store. */
  readonly #id: string;

  private constructor(
    readonly server: RedisServer,
    readonly place: RedisPlace,
    opened: { readonly durability: StorageCapabilities['durability']; readonly id: string; readonly count: number },
  ) {
    this.durability = opened.durability;
    this.layout = layoutOf(place.prefix);
    this.#id = opened.id;
    this.count = opened.count;
  }

  /** Opens the store, or makes it. @throws what keeps it from being used. */
  static async open(server: RedisServer, place: RedisPlace): Promise<RedisStore> {
    const patience = patienceOf(server, place);
    const promises = await readPromises(server, patience);
    requireKeeping(server.store, promises, place.allowEviction);
    const { meta, order, entry, channel } = layoutOf(place.prefix);
    const probe = entry('~'); // No key has this character.
    const proposed = randomBytes(12).toString('base64url');
    const question = { script: OPEN, keys: [meta, order, probe], arguments: [proposed, String(FORMAT), channel] };
    const answer = await server.ask(question, patience);
    requireFormat(server.store, answer);
    const [, nowMs, era, id, count] = requireWhole(server.store, meta, answer);
    const opened = { durability: promises.durability, id: String(id), count: Number(count) };
    const store = new RedisStore(server, place, opened);
    store.time.learn(Number(nowMs), Number(era), server.clock.monotonicMs());
    return store;
  }

  /** Asks a script about this store, on its meta and order keys and those of `entries`. Fails as `RedisServer.ask` does. */
  async ask(
    script: RedisScript,
    asked: { readonly entries?: readonly string[]; readonly arguments: readonly (string | Buffer)[] },
    patience: RedisPatience,
  ): Promise<RedisAnswer> {
    const { meta, order, entry } = this.layout;
    const keys = [meta, order, ...(asked.entries ?? []).map(entry)];
    const answer = await this.server.ask({ script, keys, arguments: [this.#id, ...asked.arguments] }, patience);
    return requireWhole(this.server.store, meta, answer);
  }

  /** What is stored for `key`: the version, and the value behind it. `undefined` if the key is truly absent. */
  async read(key: string, signal: AbortSignal | undefined): Promise<Buffer | undefined> {
    const patience = this.patience(signal);
    const name = this.layout.entry(key);
    const found = await this.server.send({ name: 'GET', arguments: [name], key: name }, patience);
    // A script would copy a large value twice more. It is only asked why there is nothing.
    const stored = found ?? (await this.ask(GET, { entries: [key], arguments: [key] }, patience))[1];
    if (stored === undefined) return undefined;
    const bytes = stored as Buffer;
    if (bytes.byteLength < VERSION_BYTES) throw damaged(this.server.store, key);
    return bytes;
  }

  /** As long as one call may take, from now. */
  patience(signal?: AbortSignal): RedisPatience {
    return patienceOf(this.server, this.place, signal);
  }
}

function patienceOf({ clock }: RedisServer, { timeoutMs }: RedisPlace, signal?: AbortSignal): RedisPatience {
  return { untilMs: clock.monotonicMs() + timeoutMs, signal };
}

/** @throws StorageError or CorruptionError if the store is not there any more, or not whole. */
function requireWhole(store: string, meta: string, answer: RedisAnswer): RedisAnswer {
  const [kind, key] = answer;
  if (kind === 'gone') {
    const what = 'was emptied or replaced while it was in use (FLUSHALL, a restart without persistence, a failover)';
    throw new StorageError(`${store} ${what}. Make a new store to go on with what is there now.`);
  }
  if (kind !== 'damaged') return answer;
  if (key !== undefined) throw damaged(store, String(key));
  const advice = 'Were keys deleted or evicted by others? Restore them from a backup';
  throw new CorruptionError(`${store} is not whole: some of its keys are gone. ${advice}.`, meta);
}

/** For a key that has a value but no place in the order, or the reverse, or no value of ours. */
export function damaged(store: string, key: string): CorruptionError {
  const advice = 'Was it deleted, evicted or overwritten by others? Restore it from a backup';
  return new CorruptionError(`"${key}" in ${store} is damaged. ${advice}.`, key);
}

function requireFormat(store: string, [kind, format]: RedisAnswer): void {
  if (kind !== 'format') return;
  const what = `was written by a newer holdfast (format ${String(format)}; this one reads up to ${FORMAT})`;
  throw new StorageError(`${store} ${what}. Update holdfast.`);
}
