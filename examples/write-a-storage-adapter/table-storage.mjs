// @ts-check
/**
 * A holdfast store in somebody's table: the four methods. Keys, values and options have been checked when they arrive
 * here; what is left to get right is written beside the lines that do it.
 */
import { ConflictError, OutcomeUnknownError, StorageError } from 'holdfast';

/**
 * @param {string} url Where the table service is.
 * @returns {import('holdfast').StorageAdapter}
 */
export default function tableStorage(url) {
  return {
    name: 'table',
    // What is acknowledged outlives this process; other machines may share it. Promise what is so, not what would be nice.
    capabilities: {
      durability: 'process',
      scope: 'network',
      atomicBatch: false,
      monotonicVersions: false,
      watch: false,
    },

    async get(key, options) {
      const { item } = await ask({ act: 'get', key }, options?.signal);
      if (item === undefined) return undefined; // The service says that there is none. An error would have been thrown.
      return { key, value: Buffer.from(item.value, 'base64'), version: item.version };
    },

    async put(key, value, options) {
      // The bytes are taken before the first await: the caller may use its buffer again at once.
      const request = { act: 'put', key, value: Buffer.from(value).toString('base64'), ...condition(options) };
      return (await write(request)).version;
    },

    async delete(key, options) {
      return (await write({ act: 'delete', key, ...condition(options) })).existed;
    },

    async list(prefix, { after, limit = 1_000, reverse = false, signal } = {}) {
      const { entries, hasMore } = await ask({ act: 'query', prefix, after, limit, reverse }, signal);
      return hasMore ? { entries, next: entries.at(-1).key } : { entries };
    },
  };

  /**
   * A write. The condition travels with it and is decided there: between a check here and a write there somebody else
   * would get in. It is sent without the caller's signal: once it is on its way, calling it off would leave in doubt
   * whether it happened.
   * @param {{ act: string, key: string, value?: string, ifVersion?: string | null }} request
   */
  async function write(request) {
    const answer = await ask(request).catch((cause) => {
      throw new OutcomeUnknownError(request.key, { cause }); // No answer: it may have happened. The caller looks, or retries.
    });
    if (answer.conflict) throw new ConflictError(request.key, answer.conflict.version);
    return answer;
  }

  /**
   * Keys and prefixes travel in the body: in a path, `..` would mean something.
   * @param {object} request
   * @param {AbortSignal} [signal]
   */
  async function ask(request, signal) {
    const response = await fetch(url, { method: 'POST', body: JSON.stringify(request), signal: signal ?? null });
    if (!response.ok) throw new StorageError(`The table service answered ${response.status}.`);
    return response.json();
  }
}

/**
 * `null` (only if absent) and "not given" (always) are two things; JSON keeps them apart.
 * @param {{ ifVersion?: string | null } | undefined} options
 */
function condition(options) {
  return options?.ifVersion === undefined ? {} : { ifVersion: options.ifVersion };
}
