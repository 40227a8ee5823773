// @ts-check
/**
 * A table as cloud databases have them, in one process: items under keys, read one by one or in order of their keys, and
 * written under a condition that the *service* decides, in one step. It speaks JSON over HTTP. It stands for the database
 * that you have; nothing in here is about holdfast.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import { json } from 'node:stream/consumers';

/** @typedef {{ value: string, version: string }} Item */

/** @typedef {{ act: string, key: string, value: string, ifVersion?: string | null } & Query} Request */

/** @typedef {{ prefix: string, after?: string, limit: number, reverse: boolean }} Query */

class Table {
  /** @type {Map<string, Item>} */
  #items = new Map();
  #writes = 0;

  /** @param {Request} request */
  get({ key }) {
    return { item: this.#items.get(key) };
  }

  /** @param {Request} request */
  put({ key, value, ifVersion }) {
    if (!this.#holds(key, ifVersion)) return { conflict: this.#items.get(key) ?? {} };
    const version = `v${++this.#writes}`; // Counted for the whole table: a key that comes back has a version it never had.
    this.#items.set(key, { value, version });
    return { version };
  }

  /** @param {Request} request */
  delete({ key, ifVersion }) {
    if (!this.#holds(key, ifVersion)) return { conflict: this.#items.get(key) ?? {} };
    return { existed: this.#items.delete(key) };
  }

  /** @param {Request} request */
  query({ prefix, after, limit, reverse }) {
    const keys = [...this.#items.keys()].filter((key) => key.startsWith(prefix)).sort(); // Keys are ASCII: byte order.
    const ordered = reverse ? keys.reverse() : keys;
    const rest = ordered.filter((key) => after === undefined || (reverse ? key < after : key > after));
    const entries = rest.slice(0, limit).map((key) => {
      const { value, version } = /** @type {Item} */ (this.#items.get(key));
      return { key, version, sizeBytes: Buffer.byteLength(value, 'base64') };
    });
    return { entries, hasMore: rest.length > limit };
  }

  /**
   * The compare of compare-and-swap: no condition, "only if absent", or "only if it is this version".
   * @param {string} key
   * @param {string | null | undefined} ifVersion
   */
  #holds(key, ifVersion) {
    return ifVersion === undefined || (this.#items.get(key)?.version ?? null) === ifVersion;
  }
}

/** Starts a service with an empty table. */
export async function startTableService() {
  const table = new Table();
  const server = createServer(async (incoming, response) => {
    const request = /** @type {Request} */ (await json(incoming).catch(() => undefined));
    if (request === undefined) return; // The connection was cut while the request came.
    const act = /** @type {'get' | 'put' | 'delete' | 'query'} */ (request.act);
    response.end(JSON.stringify(table[act](request)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = /** @type {import('node:net').AddressInfo} */ (server.address());
  return {
    url: `http://127.0.0.1:${address.port}`,
    /** What networks do: every connection ends at once, whatever is on its way. */
    async cutConnections() {
      server.closeAllConnections();
    },
    async stop() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}
