import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { Redis, type RedisOptions } from 'ioredis';
import { createClient } from 'redis';

/** How a private server keeps its data. */
type RedisPersistence = 'none' | 'snapshots' | 'everysec' | 'always';

const PERSISTENCE: Readonly<Record<RedisPersistence, readonly string[]>> = {
  none: ['--save', '', '--appendonly', 'no'],
  snapshots: ['--save', '3600 1', '--appendonly', 'no'],
  everysec: ['--save', '', '--appendonly', 'yes', '--appendfsync', 'everysec'],
  always: ['--save', '', '--appendonly', 'yes', '--appendfsync', 'always'],
};

/** How a private server is started. */
export interface RedisServerOptions {
  readonly persistence?: RedisPersistence;
  /** A free TCP port of this machine too: for clusters and replicas. Without it: a Unix socket only. */
  readonly isOnTcp?: boolean;
  /** More of the command line, `--name value` in turn. */
  readonly settings?: readonly string[];
  /** Where its folder is made. Default the folder of temporary files. */
  readonly folder?: string;
}

/** A server that takes so long to start will not. */
const PATIENCE_MS = 20_000;

/** A Redis or Valkey server of our own: a Unix socket in a fresh folder, gone when it is stopped. */
export class RedisTestServer implements AsyncDisposable {
  readonly #words: readonly string[];
  #child: ChildProcess | undefined;

  private constructor(
    readonly folder: string,
    words: readonly string[],
    readonly port: number | undefined,
  ) {
    this.#words = words;
  }

  get socket(): string {
    return join(this.folder, 'socket');
  }

  get pid(): number {
    return this.#child?.pid ?? -1;
  }

  static async start({ persistence = 'none', isOnTcp, settings = [], folder = tmpdir() }: RedisServerOptions = {}) {
    const own = await mkdtemp(join(folder, 'hf-redis-'));
    const port = isOnTcp ? await freePort() : undefined;
    const words = ['--dir', own, '--unixsocket', join(own, 'socket'), '--port', String(port ?? 0)];
    const server = new RedisTestServer(own, [...words, ...PERSISTENCE[persistence], ...settings], port);
    await server.restart();
    return server;
  }

  /** Starts it over what it kept; also after `kill`. */
  async restart(): Promise<void> {
    await this.kill('SIGTERM');
    const child = spawn(redisBinary(), this.#words, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    await ready(child);
  }

  /** Ends it as the signal does: by default as if the power were cut for this process. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await gone;
  }

  /** Stops its clockwork: it answers nothing, and what it is sent waits in its socket. */
  suspend(): void {
    this.#child?.kill('SIGSTOP');
  }

  resume(): void {
    this.#child?.kill('SIGCONT');
  }

  /** An ioredis client of it. */
  client(options: Omit<RedisOptions, 'replyMapping'> = {}): Redis {
    return quiet(new Redis(this.socket, options));
  }

  /** A connected node-redis client of it. */
  async nodeClient(username?: string, password?: string) {
    const client = createClient({
      socket: { path: this.socket, tls: false },
      ...(username !== undefined && { username }),
      ...(password !== undefined && { password }),
    });
    client.on('error', () => {});
    return client.connect();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.resume();
    await this.kill();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Where the contract is tried: the server that the environment names, else a private one. */
export async function sharedRedis(): Promise<{ readonly url: string; stop(): Promise<void> }> {
  const url = process.env.HOLDFAST_TEST_REDIS_URL;
  if (url) return { url, stop: async () => {} };
  const server = await RedisTestServer.start({ isOnTcp: true, persistence: 'everysec' });
  return { url: `redis://127.0.0.1:${server.port}`, stop: () => server[Symbol.asyncDispose]() };
}

/** The client, with a listener for its lost connections, of which it would complain on the console. */
export function quiet<Client extends { on(event: 'error', listener: () => void): unknown }>(client: Client): Client {
  client.on('error', () => {});
  return client;
}

function redisBinary(): string {
  const folders = (process.env.PATH ?? '').split(delimiter).filter(Boolean);
  const paths = ['redis-server', 'valkey-server'].flatMap((name) => folders.map((folder) => join(folder, name)));
  const found = paths.find(isExecutable);
  if (found === undefined) throw new Error('Tests of the Redis store need redis-server or valkey-server on PATH.');
  return found;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function ready(child: ChildProcess): Promise<void> {
  let seen = '';
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`not ready after ${PATIENCE_MS} ms:\n${seen}`)), PATIENCE_MS);
    const end = (error?: Error) => {
      clearTimeout(timer);
      if (error) reject(error);
      else resolve();
    };
    child.stdout?.on('data', (chunk: Buffer) => {
      seen += chunk;
      if (/ready to accept connections/i.test(seen)) end();
    });
    child.once('error', end);
    child.once('exit', (code) => end(new Error(`redis-server ended with ${code}:\n${seen}`)));
  });
}

/** A port that was free a moment ago. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer().once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
