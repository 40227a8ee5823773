import { mkdir, mkdtemp, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { emptyCheckpoint, MemorySaver, uuid6 } from '@langchain/langgraph-checkpoint';
import { PostgresSaver } from '@langchain/langgraph-checkpoint-postgres';
import { SqliteSaver } from '@langchain/langgraph-checkpoint-sqlite';
import { CheckpointManager, fileStorage } from '../dist/index.js';
import { startPostgres } from './postgres.mjs';

/*
 * Savers as the bench sees them:
 * `save(session, state)`, `restore(session)` (the newest state), `list(session)` (how many there are), `storedBytes()`
 * (of all checkpoints, without what a database or a log needs around them), `close()`.
 */

/** Ours in a directory. A second one over the same directory has nothing in memory: it is cold. */
export function holdfastSaver(directory, options) {
  const storage = fileStorage(directory, { durability: 'disk', ...options });
  const checkpoints = new CheckpointManager({ storage });
  return {
    save: (session, state, about) => checkpoints.save(session, state, about),
    restore: async (session) => (await checkpoints.restore(session)).state,
    list: (session) => countOf(checkpoints.list(session)),
    storedBytes: async () => (await sizeOf(storage, 'checkpoints/')) + (await sizeOf(storage, 'checkpoint-parts/')),
    close: async () => {
      await checkpoints.drained();
      await storage.close();
    },
  };
}

/** All records under a prefix, as the storage lists them. */
async function sizeOf(storage, prefix) {
  let bytes = 0;
  for (let after; ; ) {
    const page = await storage.list(prefix, after === undefined ? {} : { after });
    for (const { sizeBytes } of page.entries) bytes += sizeBytes;
    after = page.next;
    if (after === undefined) return bytes;
  }
}

/** SqliteSaver. It runs with `synchronous=NORMAL` unless somebody sets it, and can then lose what it acknowledged. */
export function sqliteSaver(directory, { isFull }) {
  const saver = SqliteSaver.fromConnString(join(directory, 'checkpoints.sqlite'));
  saver.setup();
  if (isFull) saver.db.pragma('synchronous = FULL');
  const level = saver.db.pragma('synchronous', { simple: true });
  if (level !== (isFull ? 2 : 1)) throw new Error(`SQLite runs with synchronous = ${level}.`);
  const stored = saver.db.prepare('SELECT sum(length(checkpoint) + length(metadata)) AS bytes FROM checkpoints');
  return {
    ...langGraphSaver(saver),
    storedBytes: async () => stored.get().bytes,
    close: async () => void saver.db.close(),
  };
}

export function memorySaver() {
  const saver = new MemorySaver();
  const stored = () => Object.values(saver.storage).flatMap((spaces) => Object.values(spaces).flatMap(Object.values));
  return {
    ...langGraphSaver(saver),
    storedBytes: async () =>
      stored().reduce((sum, [checkpoint, metadata]) => sum + checkpoint.length + metadata.length, 0),
    close: async () => {},
  };
}

/** PostgresSaver on a server that is there, with nothing in it. Counted compressed, as Postgres keeps it. */
async function postgresSaver(url) {
  const saver = PostgresSaver.fromConnString(url);
  await saver.setup();
  const { pool } = saver;
  await pool.query('TRUNCATE checkpoints, checkpoint_blobs, checkpoint_writes');
  const sum = (columns, table) => `(SELECT coalesce(sum(${columns.map((c) => `pg_column_size(${c})`).join('+')}), 0)
    FROM ${table})`;
  const query = `SELECT ${sum(['blob'], 'checkpoint_blobs')} + ${sum(['checkpoint', 'metadata'], 'checkpoints')} AS bytes`;
  return {
    ...langGraphSaver(saver),
    storedBytes: async () => Number((await pool.query(query)).rows[0].bytes),
    close: () => pool.end(),
  };
}

/** A server for all PostgresSavers of a run, one after another. Where there is none, `open` is not there and `why` says so. */
export async function postgresServer() {
  try {
    const server = await startPostgres();
    return { open: () => postgresSaver(server.url()), stop: () => server.stop() };
  } catch (error) {
    return { why: error.message.split('\n')[0], stop: async () => {} };
  }
}

/** A graph's way to use a LangGraph saver: a channel for each part of the state, versions of those that changed. */
function langGraphSaver(saver) {
  const sessions = new Map();
  const threadOf = (session) => ({ configurable: { thread_id: session, checkpoint_ns: '' } });
  return {
    async save(session, state) {
      const { config = threadOf(session), step = 0, values = {}, versions = {} } = sessions.get(session) ?? {};
      const changed = Object.keys(state).filter((channel) => state[channel] !== values[channel]);
      const newVersions = Object.fromEntries(changed.map((channel) => [channel, step + 1]));
      const channelVersions = { ...versions, ...newVersions };
      const checkpoint = {
        ...emptyCheckpoint(),
        id: uuid6(step),
        channel_values: state,
        channel_versions: channelVersions,
      };
      const next = await saver.put(config, checkpoint, { source: 'loop', step, parents: {} }, newVersions);
      sessions.set(session, { config: next, step: step + 1, values: state, versions: channelVersions });
    },
    restore: async (session) => (await saver.getTuple(threadOf(session))).checkpoint.channel_values,
    list: (session) => countOf(saver.list(threadOf(session))),
  };
}

async function countOf(listed) {
  let count = 0;
  for await (const _ of listed) count++;
  return count;
}

/** The careful way to keep a file per session: draft, fsync, rename, fsync of the directory. */
export async function replaceFile(directory, name, bytes) {
  const draft = join(directory, `${name}.draft`);
  const file = await open(draft, 'w');
  await file.writeFile(bytes);
  await file.sync();
  await file.close();
  await rename(draft, join(directory, name));
  const entries = await open(directory, 'r');
  await entries.sync();
  await entries.close();
}

/** Runs with directories of their own (`folder(name)` makes one), which are gone afterwards. */
export async function withFolders(run) {
  const root = await mkdtemp(join(tmpdir(), 'holdfast-bench-'));
  const folder = async (name) => {
    await mkdir(join(root, name), { recursive: true });
    return join(root, name);
  };
  try {
    return await run(folder);
  } finally {
    await rm(root, { recursive: true });
  }
}

/** Bytes of all files in a directory. */
export async function onDisk(directory) {
  const entries = await readdir(directory, { withFileTypes: true, recursive: true });
  const files = entries.filter((entry) => entry.isFile());
  const sizes = await Promise.all(files.map(async ({ path, name }) => (await stat(join(path, name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}
